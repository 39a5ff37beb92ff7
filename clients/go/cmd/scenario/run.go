// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	l4lb "l4lb/clients/go"
)

const (
	stepTime = 20 * time.Second
	mostRead = 100 // messages that `until` may pass over
)

type runner struct {
	lb     *l4lb.Client
	known  variables
	called map[string]bool
	steps  int
}

func (r *runner) step(s step) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepTime)
	defer cancel()
	r.steps++
	r.called[s.RPC] = true
	failed := func(what any) error { return fmt.Errorf("%s (%s): %v", s.Fact, s.RPC, what) }
	returned, err := r.call(ctx, s)
	if err != nil {
		return failed(err)
	}
	if s.Stream != nil {
		if err := r.stream(returned[0], s); err != nil {
			return failed(err)
		}
		fmt.Println("ok:", s.Fact)
		return nil
	}
	if receive := returned[0].MethodByName("Recv"); receive.IsValid() { // the error of a stream comes with its first message
		returned = receive.Call(nil)
	}
	failure, _ := returned[1].Interface().(error)
	if found := r.compare(s, returned[0], failure); len(found) > 0 {
		return failed(strings.Join(found, "; "))
	}
	fmt.Println("ok:", s.Fact)
	return nil
}

// call calls the method of the generated client that has the rpc's name.
func (r *runner) call(ctx context.Context, s step) ([]reflect.Value, error) {
	method := reflect.ValueOf(r.lb.LoadBalancerServiceClient).MethodByName(s.RPC)
	if !method.IsValid() {
		return nil, errors.New("the client has no such rpc")
	}
	request := reflect.New(method.Type().In(1).Elem())
	text, err := json.Marshal(filled(s.Request, r.known))
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(text, request.Interface().(proto.Message)); err != nil {
		return nil, err
	}
	return method.Call([]reflect.Value{reflect.ValueOf(ctx), request}), nil
}

func (r *runner) compare(s step, answer reflect.Value, failure error) []string {
	if s.Error != nil {
		if failure == nil {
			return []string{"expected an error, got an answer"}
		}
		said := l4lb.FailureOf(failure)
		return differences("error", s.Error, map[string]any{"code": said.Code, "reason": said.Reason, "field": said.Field})
	}
	if failure != nil {
		return []string{failure.Error()}
	}
	actual, err := plain(answer)
	if err != nil {
		return []string{err.Error()}
	}
	for name, path := range s.Keep {
		r.known[name] = fmt.Sprint(at(actual, path))
	}
	return differences("answer", filled(s.Answer, r.known), actual)
}

// stream plays the items of an open stream, then ends it; a stream that is complete ends by itself, without an error.
func (r *runner) stream(stream reflect.Value, s step) error {
	next := func() (any, error) {
		received := stream.MethodByName("Recv").Call(nil)
		if failure, _ := received[1].Interface().(error); failure != nil {
			return nil, failure
		}
		return plain(received[0])
	}
	for _, item := range s.Stream {
		if item.Step != nil {
			if err := r.step(*item.Step); err != nil {
				return err
			}
		} else if err := r.message(next, item); err != nil {
			return err
		}
	}
	if !s.Complete {
		return nil
	}
	if _, err := next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("expected the end of the stream, got %v", err)
	}
	return nil
}

func (r *runner) message(next func() (any, error), item item) error {
	most, expected := 1, item.Next
	if item.Until != nil {
		most, expected = mostRead, item.Until
	}
	var found []string
	for range most {
		actual, err := next()
		if err != nil {
			return fmt.Errorf("%w; before: %s", err, strings.Join(found, "; "))
		}
		if found = differences("message", filled(expected, r.known), actual); len(found) == 0 {
			return nil
		}
	}
	return errors.New(strings.Join(found, "; "))
}

// plain is a message as JSON values, fields with their default included.
func plain(message reflect.Value) (any, error) {
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(message.Interface().(proto.Message))
	if err != nil {
		return nil, err
	}
	var value any
	err = json.Unmarshal(text, &value)
	return value, err
}
