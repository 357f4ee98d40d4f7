package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLedgerFileReadsBackWhileItGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.jsonl")
	h := Header{Camera: "gate", Tracks: []Track{{H265, 90000}, {PCMA, 8000}}}
	w, err := Create(path, h)
	require.NoError(t, err)
	_, err = Create(path, h)
	require.ErrorContains(t, err, "create the ledger of camera gate")

	want := []Entry{
		{Track: 0, Number: 0, Hash: made(0, 1), Size: 10, AtNS: 5, RTP: 1 << 31, Key: true, Sent: []string{"s1", "s2"}},
		{Track: 1, Number: 0, Hash: made(0, 2), Size: 11, AtNS: 6},
		{Track: 0, Number: 1, Hash: made(0, 3), Size: 12, AtNS: 7, Lost: 3},
	}
	for i := range want {
		require.NoError(t, w.Entry(&want[i]))
	}
	require.NoError(t, w.Event(Event{Event: "drop", AtNS: 8, Detail: "500ms"}))
	require.NoError(t, w.Flush())
	l, err := ReadFile(path)
	require.NoError(t, err)
	h.Format = 1
	require.Equal(t, h, l.Header)
	require.Equal(t, []Entry{want[0], want[2]}, l.Entries[0])
	require.Equal(t, []Entry{want[1]}, l.Entries[1])
	require.Equal(t, []Event{{"drop", 8, "500ms"}}, l.Events)
	require.Equal(t, &want[2], l.Find(0, 1))
	require.Nil(t, l.Find(0, 2))
	require.Equal(t, 1, l.TrackOf(PCMA))
	require.NoError(t, w.Close())

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	l, err = Read(strings.NewReader(string(b[:len(b)-3]))) // the last line is torn
	require.NoError(t, err)
	require.Empty(t, l.Events)
}

func TestLedgerFileThatIsNoneIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "other format": "{\"ledger\":2}\n", "no JSON": "x\n",
		"hole":        "{\"ledger\":1,\"tracks\":[{\"codec\":\"aac\"}]}\n{\"t\":0,\"n\":1}\n{\"t\":0,\"n\":3}\n",
		"other track": "{\"ledger\":1,\"tracks\":[{\"codec\":\"aac\"}]}\n{\"t\":1,\"n\":1}\n",
	} {
		_, err := Read(strings.NewReader(text))
		require.Error(t, err, name)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("{\"ledger\":1,\"camera\":\"a\",\"tracks\":[{\"codec\":\"aac\"}]}\n{\"event\":\"drop\"}\n{\"t\":0,\"n\":1}\n{\"t\":0,\"n\":2}\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for i := range l.Tracks {
			for _, e := range l.Entries[i] {
				require.Equal(t, e.Number, l.Find(i, e.Number).Number)
			}
		}
	})
}
