// Handles the posts of a forum until SIGTERM or SIGINT: go run ./worker
//
//	REDIS_URL     where the server is, redis://localhost:6379
//	EVQ_GROUP     the group to work for, default
//	EVQ_WORKERS   workers in this process, 1
//	EVQ_LEASE_MS  how long a worker may be silent, 30000
//	EVQ_SOURCE    a partition, instead of any
//
// A post like {"ms": 500, "fails": 1} takes half a second and fails once.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"evq-example/evq"
)

func main() {
	workers, _ := strconv.Atoi(os.Getenv("EVQ_WORKERS"))
	leaseMs, _ := strconv.Atoi(os.Getenv("EVQ_LEASE_MS"))
	queue, err := evq.New(cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379"), evq.Options{
		Group:   os.Getenv("EVQ_GROUP"),
		Source:  os.Getenv("EVQ_SOURCE"),
		Workers: workers,
		Lease:   time.Duration(leaseMs) * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := queue.Work(ctx, handle); err != nil {
		log.Fatal(err)
	}
}

// handle may see an event again, after a crash: it must bear that.
func handle(ctx context.Context, event *evq.Event) error {
	var post struct{ Ms, Fails int }
	if err := json.Unmarshal(event.Payload, &post); err != nil {
		return err
	}
	select {
	case <-ctx.Done(): // the lease is lost
		return context.Cause(ctx)
	case <-time.After(time.Duration(post.Ms) * time.Millisecond):
	}
	if event.Attempt <= post.Fails {
		return errors.New("not yet")
	}
	// One write, for several workers may share the output.
	_, err := fmt.Printf("%d %d %s %d %s %s\n",
		event.Partition, event.Epoch, event.ID, event.Attempt, event.Key, event.Payload)
	return err
}
