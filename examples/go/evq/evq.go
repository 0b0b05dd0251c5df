// Package evq is EVQ for Go on go-redis v9: copy this file into your project.
//
//	queue, err := evq.New("redis://localhost:6379", evq.Options{Group: "mailer", Workers: 4})
//	...
//	partition, id, err := queue.Trigger(ctx, "thread:42", payload, evq.About{Type: "PostCreated"})
//	...
//	err = queue.Work(ctx, func(ctx context.Context, event *evq.Event) error {
//		return sendMail(ctx, event.Key, event.Payload) // an error: it is retried; its key waits
//	}) // until ctx is done
package evq

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Error is an error of EVQ's. Its first word, Code, is what programs may rely on:
// errors.Is(err, evq.ErrFull).
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Message }

// Is compares codes.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

var (
	// ErrFenced: another worker has the partition, and what was not acknowledged.
	ErrFenced = &Error{"EVQFENCED", "EVQFENCED the lease was lost while an event was handled"}
	// ErrFull: the ring's MAXDEPTH is reached and nothing was written: wait, then try again.
	ErrFull = &Error{"EVQFULL", "EVQFULL"}
	// ErrNoPartition: the ring has no such partition, or has it no more.
	ErrNoPartition = &Error{"EVQNOPARTITION", "EVQNOPARTITION"}
)

// Options of a Queue; what is zero has its default.
type Options struct {
	Ring, Group string        // "default"
	Source      string        // the partition to pull from; "*", any
	Workers     int           // goroutines of Work, each with a connection of its own; 1
	Count       int           // events a pull; 10
	Block       time.Duration // how long a pull waits; 2 s
	Lease       time.Duration // how long a worker may be silent; 30 s
	Logger      *slog.Logger
}

// Event as a worker gets it. Strings are the bytes as they were given.
type Event struct {
	Partition, Epoch int64
	ID, Key, Type    string
	Payload          []byte
	Headers          map[string]string
	Attempt          int
}

// Handler handles an event. It may see one again, after a crash. Its ctx is done when the lease is
// lost: another worker may be at the same event then.
type Handler func(ctx context.Context, event *Event) error

// About is what an event may have beside key and payload.
type About struct {
	Type    string
	Headers map[string]string
	// Unique is a token with which the event is sent again when a reply is lost, and appended once.
	// Without one a lost reply is an error, and for you to decide.
	Unique string
}

// Queue is one ring and one group.
type Queue struct {
	url    string
	opts   Options
	names  []any
	client *redis.Client
}

// New does not connect yet.
func New(url string, opts Options) (*Queue, error) {
	opts.Ring, opts.Group = cmp.Or(opts.Ring, "default"), cmp.Or(opts.Group, "default")
	opts.Source, opts.Workers = cmp.Or(opts.Source, "*"), cmp.Or(opts.Workers, 1)
	opts.Count, opts.Block = cmp.Or(opts.Count, 10), cmp.Or(opts.Block, 2*time.Second)
	opts.Lease, opts.Logger = cmp.Or(opts.Lease, 30*time.Second), cmp.Or(opts.Logger, slog.Default())
	q := &Queue{url: url, opts: opts, names: []any{"RING", opts.Ring, "GROUP", opts.Group}}
	client, err := q.connect(5 * time.Second)
	q.client = client
	return q, err
}

// Close ends the connections of Trigger, Schedule and Stats.
func (q *Queue) Close() error { return q.client.Close() }

func (q *Queue) connect(readTimeout time.Duration) (*redis.Client, error) {
	settings, err := redis.ParseURL(q.url)
	if err != nil {
		return nil, err
	}
	// By default go-redis waits for a reply for 5 seconds, which a pull may take ...
	settings.ReadTimeout = readTimeout
	// ... and then sends the command again, three times: an event would be appended twice.
	settings.MaxRetries = -1
	settings.MaintNotificationsConfig =
		&maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(settings), nil
}

// Trigger appends an event and returns its partition and id.
func (q *Queue) Trigger(ctx context.Context, key string, payload []byte, about About) (
	partition int64, id string, err error) {
	return q.produce(ctx, []any{"EVQ.TRIGGER", key, payload}, about)
}

// Schedule appends an event when its time has come; it returns its partition and ticket.
func (q *Queue) Schedule(ctx context.Context, at time.Time, key string, payload []byte,
	about About) (partition int64, ticket string, err error) {
	return q.produce(ctx, []any{"EVQ.SCHEDULE", key, payload, "AT", at.UnixMilli()}, about)
}

func (q *Queue) produce(ctx context.Context, words []any, about About) (int64, string, error) {
	words = append(words, "RING", q.opts.Ring)
	if about.Type != "" {
		words = append(words, "TYPE", about.Type)
	}
	for name, value := range about.Headers {
		words = append(words, "HEADER", name, value)
	}
	if about.Unique != "" {
		words = append(words, "UNIQUE", about.Unique)
	}
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		reply, err := call(ctx, q.client, words...)
		if list, ok := reply.([]any); ok && len(list) == 2 && err == nil {
			partition, _ := list[0].(int64)
			return partition, fmt.Sprint(list[1]), nil
		}
		var answer redis.Error
		var ours *Error
		if err == nil || errors.As(err, &answer) || errors.As(err, &ours) || about.Unique == "" ||
			pause > 5*time.Second || !wait(ctx, pause) {
			return 0, "", err
		}
	}
}

// Stats tells how the group stands over all partitions: lag, retrying, dead-letters and more.
func (q *Queue) Stats(ctx context.Context) (map[string]any, error) {
	reply, err := call(ctx, q.client, "EVQ.GROUPS", "RING", q.opts.Ring, "JSON")
	if err != nil {
		return nil, err
	}
	var groups []map[string]any
	if err := json.Unmarshal([]byte(fmt.Sprint(reply)), &groups); err != nil {
		return nil, err
	}
	for _, group := range groups {
		if group["group"] == q.opts.Group {
			return group, nil
		}
	}
	return nil, nil
}

// Work handles events until ctx is done; what is in hand then is finished first. It returns an
// error only for what waiting does not mend, as a ring that does not exist.
func (q *Queue) Work(ctx context.Context, handle Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ends := make(chan error)
	for range q.opts.Workers {
		go func() { ends <- q.work(ctx, handle) }()
	}
	var first error
	for range q.opts.Workers {
		if err := <-ends; err != nil && first == nil {
			first = err
			stop()
		}
	}
	return first
}

func (q *Queue) work(ctx context.Context, handle Handler) error {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		err := q.session(ctx, handle, &pause)
		if err == nil || errors.Is(err, ErrNoPartition) {
			return nil // done; or a resize has removed the partition, and nothing is left in it
		}
		for _, code := range []string{
			"EVQNORING", "EVQNAME", "EVQNOGROUP", "WRONGTYPE", "NOPERM", "NOAUTH", "WRONGPASS"} {
			if strings.HasPrefix(err.Error(), code) {
				return err
			}
		}
		// Nobody knows what the server has done: forget the ACK and what is in hand, and start
		// over as a new worker. What was not acknowledged comes again.
		q.opts.Logger.Warn("evq: starting over", "error", err)
		wait(ctx, pause)
		pause = min(2*pause, 5*time.Second)
	}
	return nil
}

// session works on one connection. Without WORKER it is the worker: its lease ends when it closes,
// however the process ended. A Client is a pool, and may give ACK another one than CONSUME had.
func (q *Queue) session(ctx context.Context, handle Handler, pause *time.Duration) error {
	client, err := q.connect(q.opts.Block + 5*time.Second)
	if err != nil {
		return err
	}
	defer client.Close()
	conn := client.Conn()
	defer conn.Close()
	always := context.WithoutCancel(ctx)
	id, err := conn.ClientID(always).Result()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go q.callIn(ctx, id, ended)

	pull := append([]any{"EVQ.CONSUME", q.opts.Source}, q.names...)
	pull = append(pull, "COUNT", q.opts.Count, "BLOCK", q.opts.Block.Milliseconds(),
		"LEASE", q.opts.Lease.Milliseconds())
	var partition int64 = -1
	var done string
	for ctx.Err() == nil {
		words := pull[:len(pull):len(pull)]
		if done != "" && q.opts.Source == "*" {
			words = append(words, "ACK", partition, done)
		} else if done != "" {
			words = append(words, "ACK", done)
		}
		reply, err := call(always, conn, words...)
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		done, *pause = "", 100*time.Millisecond
		if err != nil {
			continue // nothing to do in time, or other workers have it
		}
		list := reply.([]any)
		partition = list[0].(int64)
		done, err = q.handOut(ctx, conn, handle, partition, list[1].(int64), list[2].([]any))
		if err != nil {
			return err
		}
	}
	if done != "" {
		words := append([]any{"EVQ.ACK", partition, done}, q.names...)
		if _, err := call(always, conn, words...); err != nil {
			return err
		}
	}
	if partition >= 0 {
		// If it is not ours any more, so much the better.
		_, _ = call(always, conn, append([]any{"EVQ.RELEASE", partition}, q.names...)...)
	}
	return nil
}

// handOut handles the events of one pull in order; it returns the last one that is finished.
func (q *Queue) handOut(ctx context.Context, conn *redis.Conn, handle Handler,
	partition, epoch int64, entries []any) (done string, err error) {
	always := context.WithoutCancel(ctx)
	leased, lose := context.WithCancelCause(always)
	defer lose(nil)
	go q.beat(leased, lose, partition, epoch)
	held := map[string]bool{}
	for _, entry := range entries {
		event := newEvent(partition, epoch, entry.([]any))
		if held[event.ID] {
			continue // it comes again, after the one of its key that failed
		}
		failure := handle(leased, event)
		if leased.Err() != nil {
			return "", context.Cause(leased)
		}
		if failure == nil {
			done = event.ID
		} else {
			q.opts.Logger.Error("evq: event failed", "id", event.ID, "error", failure)
			// After the last attempt it is a dead letter: EVQ.DEAD lists and retries.
			words := append([]any{"EVQ.NACK", partition, event.ID}, q.names...)
			reply, err := call(always, conn, append(words, "REASON", failure.Error())...)
			if err != nil {
				return "", err
			}
			for _, id := range reply.([]any) {
				held[id.(string)] = true
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return done, nil
}

// beat renews the lease while events are in hand. EPOCH proves it from any connection.
func (q *Queue) beat(leased context.Context, lose context.CancelCauseFunc, partition, epoch int64) {
	words := append([]any{"EVQ.EXTEND", partition}, q.names...)
	words = append(words, "EPOCH", epoch, "LEASE", q.opts.Lease.Milliseconds())
	for wait(leased, q.opts.Lease/3) {
		if _, err := call(leased, q.client, words...); errors.Is(err, ErrFenced) {
			lose(ErrFenced)
		}
	}
}

// callIn ends the pull that waits when ctx is done. If it is not permitted, BLOCK does.
func (q *Queue) callIn(ctx context.Context, id int64, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	for {
		q.client.ClientUnblock(context.WithoutCancel(ctx), id)
		select {
		case <-ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func newEvent(partition, epoch int64, entry []any) *Event {
	event := &Event{Partition: partition, Epoch: epoch, ID: entry[0].(string), Attempt: 1,
		Headers: map[string]string{}}
	fields := entry[1].([]any)
	for n := 0; n+1 < len(fields); n += 2 {
		name, value := fields[n].(string), fields[n+1].(string)
		switch name {
		case "key":
			event.Key = value
		case "type":
			event.Type = value
		case "payload":
			event.Payload = []byte(value)
		case "attempt":
			event.Attempt, _ = strconv.Atoi(value)
		default:
			if header, ok := strings.CutPrefix(name, "h:"); ok {
				event.Headers[header] = value
			}
		}
	}
	return event
}

// call sends one command, with typed errors.
func call(ctx context.Context, client interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}, words ...any) (any, error) {
	reply, err := client.Do(ctx, words...).Result()
	if err != nil && strings.HasPrefix(err.Error(), "EVQ") {
		code, _, _ := strings.Cut(err.Error(), " ")
		err = &Error{code, err.Error()}
	}
	return reply, err
}

func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
