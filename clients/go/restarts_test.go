// SPDX-License-Identifier: Apache-2.0

package l4lb

import (
	"context"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"l4lb/clients/go/l4lbv1"
)

const restarts, streams = 200, 64

// All attempts of a call with the pauses between them take four seconds.
const patience = 20 * time.Second

type agent struct {
	l4lbv1.UnimplementedLoadBalancerServiceServer
}

// Some streams begin at once, some later: an agent is killed at every moment of theirs.
func (agent) StreamStats(_ *l4lbv1.StreamStatsRequest, stream grpc.ServerStreamingServer[l4lbv1.StreamStatsResponse]) error {
	select {
	case <-time.After(rand.N(20 * time.Millisecond)):
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	if rand.N(4) == 0 {
		return status.Error(codes.Unavailable, "not now")
	}
	return stream.Send(&l4lbv1.StreamStatsResponse{Stats: &l4lbv1.Stats{}})
}

// A stream that is opened while the agent is killed and comes back ends or begins: gRPC's own retries, which this client uses, must never
// leave the wait for its first message without an end.
func TestStreamsOfAnAgentThatIsKilledAgainAndAgainEndOrBegin(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	client, err := Dial("unix://"+socket, TLS{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	over := make(chan struct{})
	var work sync.WaitGroup
	var counting sync.Mutex
	results := map[codes.Code]int{}
	for range streams {
		work.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				stream, err := client.StreamStats(ctx, &l4lbv1.StreamStatsRequest{Samples: 1})
				if err == nil {
					_, err = stream.Recv()
				}
				if ctx.Err() != nil {
					t.Errorf("no message and no error within %v", patience)
				}
				cancel()
				counting.Lock()
				results[status.Code(err)]++
				counting.Unlock()
			}
		})
	}
	for range restarts {
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		l4lbv1.RegisterLoadBalancerServiceServer(server, agent{})
		go server.Serve(listener)
		time.Sleep(rand.N(60 * time.Millisecond))
		server.Stop()
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	close(over)
	work.Wait()
	t.Log(results)
	if results[codes.OK] == 0 || results[codes.Unavailable] == 0 {
		t.Errorf("streams have not met agents in every state: %v", results)
	}
}
