// SPDX-License-Identifier: Apache-2.0

package l4lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"l4lb/clients/go/l4lbv1"
)

// Watch tells what happens to the backends of parent (`services/web`, or `services/-` for all) until ctx ends or tell returns an error,
// which it returns. When the agent restarts it goes on after the last revision. When the agent no longer remembers that one it begins anew:
// every backend comes as ADDED again, then SYNCED; a backend that did not come again is gone.
func (c *Client) Watch(ctx context.Context, parent string, tell func(*l4lbv1.WatchBackendsResponse) error) error {
	var revision uint64 // the last one that is whole
	connect := func(ctx context.Context) (grpc.ServerStreamingClient[l4lbv1.WatchBackendsResponse], error) {
		return c.WatchBackends(ctx, &l4lbv1.WatchBackendsRequest{Parent: parent, ResumeRevision: revision})
	}
	again := func(err error) bool {
		if status.Code(err) != codes.OutOfRange {
			return status.Code(err) == codes.Unavailable
		}
		known := revision != 0
		revision = 0
		return known
	}
	return goOn(ctx, c.Patience, connect, again, func(message *l4lbv1.WatchBackendsResponse) error {
		// Before SYNCED a message belongs to the beginning, which cannot be resumed in its middle.
		if revision != 0 || message.Event == l4lbv1.WatchBackendsResponse_EVENT_SYNCED {
			revision = message.Revision
		}
		return tell(message)
	})
}

// Stats tells a sample at once and one each interval, over restarts of the agent, until there were as many as asked for, ctx ends, or tell
// returns an error, which it returns.
func (c *Client) Stats(ctx context.Context, asked *l4lbv1.StreamStatsRequest, tell func(*l4lbv1.Stats) error) error {
	request := proto.CloneOf(asked) // its samples are those that are left
	connect := func(ctx context.Context) (grpc.ServerStreamingClient[l4lbv1.StreamStatsResponse], error) {
		return c.StreamStats(ctx, request)
	}
	again := func(err error) bool { return status.Code(err) == codes.Unavailable }
	err := goOn(ctx, c.Patience, connect, again, func(message *l4lbv1.StreamStatsResponse) error {
		if err := tell(message.Stats); err != nil {
			return err
		}
		if asked.Samples == 0 { // for ever
			return nil
		}
		if request.Samples--; request.Samples == 0 {
			return errComplete
		}
		return nil
	})
	if errors.Is(err, errComplete) {
		return nil
	}
	return err
}

// What ends a stream from inside, as wanted.
var errComplete, errDrained = errors.New("complete"), errors.New("drained")

// WaitDrained waits for the end of the drain of a backend and returns it: Drain.Result says how it ended. tell is told each change.
func (c *Client) WaitDrained(ctx context.Context, name string, tell func(*l4lbv1.Backend)) (*l4lbv1.Backend, error) {
	parent, _, found := strings.Cut(name, "/backends/")
	if !found {
		return nil, fmt.Errorf("%q is not the name of a backend", name)
	}
	var last *l4lbv1.Backend
	err := c.Watch(ctx, parent, func(message *l4lbv1.WatchBackendsResponse) error {
		if message.Event == l4lbv1.WatchBackendsResponse_EVENT_SYNCED && last == nil {
			return fmt.Errorf("%s does not exist", name)
		}
		if message.Backend.GetName() != name {
			return nil
		}
		last = message.Backend
		switch {
		case message.Event == l4lbv1.WatchBackendsResponse_EVENT_DELETED:
			return fmt.Errorf("%s was removed", name)
		case last.AdminState == l4lbv1.AdminState_ADMIN_STATE_DRAINED:
			tell(last)
			return errDrained
		case last.AdminState == l4lbv1.AdminState_ADMIN_STATE_DRAINING:
			tell(last)
			return nil
		}
		return fmt.Errorf("%s is not being drained", name)
	})
	if errors.Is(err, errDrained) {
		return last, nil
	}
	return nil, err
}

// goOn reads a stream and connects again while `again` wants it and the agent has not been gone for longer than patience. A stream that never
// began is not begun again.
func goOn[M any](ctx context.Context, patience time.Duration,
	connect func(context.Context) (grpc.ServerStreamingClient[M], error), again func(error) bool, tell func(*M) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var heard time.Time
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		stream, err := connect(ctx)
		for err == nil {
			var message *M
			if message, err = stream.Recv(); err != nil {
				break
			}
			heard, wait = time.Now(), 100*time.Millisecond
			if err := tell(message); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if heard.IsZero() || time.Since(heard) > patience || !again(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
