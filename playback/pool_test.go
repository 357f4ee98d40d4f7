package playback

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/duet-video/duet/internal/nodepb"
)

// testService makes a Service for fakes, whose probes run only where probe is set.
func testService(t testing.TB, probe bool, change func(*Options), fakes ...*fakeRecorder) *Service {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := Options{Name: "v1", Listener: l, Log: zerolog.Nop(), Cameras: []Camera{{Name: "gate", Copies: "dual"}}}
	for i, f := range fakes {
		role := "primary"
		if i > 0 {
			role = "redundant"
		}
		o.Recorders = append(o.Recorders, Node{Name: f.name, Address: f.addr, Role: role})
	}
	o.Cameras[0].Primary = fakes[0].name
	if len(fakes) > 1 {
		o.Cameras[0].Redundant = fakes[1].name
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if probe {
		go func() { done <- s.Run(ctx) }()
	} else {
		done <- nil
	}
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		if !probe {
			require.NoError(t, s.pool.close())
			require.NoError(t, l.Close())
		}
	})
	return s
}

// statusOf asks a recorder something that it answers with its name.
func statusOf(ctx context.Context, p *peer) (string, error) {
	var name string
	err := p.call(ctx, func(ctx context.Context) error {
		st, err := p.recorder.Status(ctx, &nodepb.StatusRequest{}, grpc.WaitForReady(true))
		name = st.GetName()
		return err
	})
	return name, err
}

func names(got []answer[string]) []string {
	out := []string{}
	for _, a := range got {
		out = append(out, a.value)
	}
	return out
}

func silentNames(s []silence) []string {
	out := []string{}
	for _, x := range s {
		out = append(out, x.peer.Name)
	}
	return out
}

const slack = 400 * time.Millisecond // what a busy machine may add

func TestAskAHungRecorderDelaysAnAnswerByTheDeadlineOnce(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, false, nil, r1, r2)
	ctx := context.Background()
	got, _ := ask(ctx, 700*time.Millisecond, s.pool.recorders, statusOf)
	require.ElementsMatch(t, []string{"r1", "r2"}, names(got))

	r2.freeze(true)
	began := time.Now()
	got, silent := ask(ctx, 700*time.Millisecond, s.pool.recorders, statusOf)
	took := time.Since(began)
	require.Equal(t, []string{"r1"}, names(got))
	require.Equal(t, []string{"r2"}, silentNames(silent))
	require.GreaterOrEqual(t, took, 700*time.Millisecond)
	require.Less(t, took, 700*time.Millisecond+slack)

	began = time.Now()
	got, silent = ask(ctx, 700*time.Millisecond, s.pool.recorders, statusOf)
	require.Less(t, time.Since(began), slack, "it is known to be hung, and must not delay a second answer")
	require.Equal(t, []string{"r1"}, names(got))
	require.Equal(t, []string{"r2"}, silentNames(silent), "what it may have is still unknown")

	r2.freeze(false)
	probe, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	require.NoError(t, s.pool.recorders[1].probe(probe))
	got, _ = ask(ctx, 700*time.Millisecond, s.pool.recorders, statusOf)
	require.ElementsMatch(t, []string{"r1", "r2"}, names(got), "a probe succeeded: it is asked again")
}

func TestAskTheOthersWhenNoneBelievedUpAnswers(t *testing.T) {
	// Between two probes, r1 comes back and r2 goes away.
	for _, how := range []string{"killed", "hung"} {
		t.Run(how, func(t *testing.T) {
			r1, r2 := newFake(t, "r1"), newFake(t, "r2")
			s := testService(t, false, nil, r1, r2)
			ctx := context.Background()
			r1.kill()
			got, _ := ask(ctx, 300*time.Millisecond, s.pool.recorders, statusOf)
			require.Equal(t, []string{"r2"}, names(got))
			require.True(t, s.pool.recorders[0].isDown())

			r1.restart()
			if how == "killed" {
				r2.kill()
			} else {
				r2.freeze(true)
			}
			got, silent := ask(ctx, 700*time.Millisecond, s.pool.recorders, statusOf)
			require.Equal(t, []string{"r1"}, names(got), "in the same request")
			require.Equal(t, []string{"r2"}, silentNames(silent))
			require.False(t, s.pool.recorders[0].isDown())
		})
	}
}

func TestAskAConnectionReestablishedUnderACallCostsNoAnswer(t *testing.T) {
	r1 := newFake(t, "r1")
	s := testService(t, false, nil, r1)
	ctx := context.Background()
	got, _ := ask(ctx, 700*time.Millisecond, s.pool.recorders, statusOf)
	require.Equal(t, []string{"r1"}, names(got))
	for range 5 {
		// The recorder restarts while it is being asked: the connection is reset, and
		// the port is closed for a moment.
		r1.kill()
		restarted := make(chan struct{})
		go func() {
			defer close(restarted)
			r1.restart()
		}()
		got, silent := ask(ctx, 2*time.Second, s.pool.recorders, statusOf)
		<-restarted
		require.Empty(t, silent)
		require.Equal(t, []string{"r1"}, names(got))
	}
}

func TestProbesFindOutWhoIsUp(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, true, func(o *Options) {
		o.Deadlines = Deadlines{ProbeEvery: 20 * time.Millisecond, Probe: 200 * time.Millisecond}
	}, r1, r2)
	state := func(i int) State { return s.pool.recorders[i].view().State }
	eventually := func(i int, want State) {
		t.Helper()
		require.Eventually(t, func() bool { return state(i) == want }, 5*time.Second, 5*time.Millisecond)
	}
	eventually(0, StateUp)
	eventually(1, StateUp)
	r1.kill()
	eventually(0, StateDown)
	require.Equal(t, StateUp, state(1))
	r1.restart()
	eventually(0, StateUp)
	r2.freeze(true)
	eventually(1, StateDown)
	r2.freeze(false)
	eventually(1, StateUp)
}
