package playback

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWhyANodeIsDownIsSaidWithoutWhatIsAroundIt(t *testing.T) {
	dial := status.Error(codes.Unavailable, `latest balancer error: connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:9102: connect: connection refused"`)
	require.Equal(t, "dial tcp 127.0.0.1:9102: connect: connection refused", whyDown(dial))
	late := status.Error(codes.DeadlineExceeded, status.Convert(dial).Message()) // it was tried until then
	require.Equal(t, "dial tcp 127.0.0.1:9102: connect: connection refused", whyDown(late))
	require.Equal(t, "it does not answer in time", whyDown(status.FromContextError(context.DeadlineExceeded).Err()))
	require.Equal(t, "it does not answer in time", whyDown(context.DeadlineExceeded))
	require.Equal(t, "boom", whyDown(errors.New("boom")))
}
