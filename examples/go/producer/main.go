// Posts to the threads of a forum: go run ./producer [posts]
//
//	REDIS_URL   where the server is, redis://localhost:6379
//	EVQ_RUN     names this run: its posts get tokens, so a second start appends none twice
//	EVQ_IN_MS   schedules each post so many milliseconds ahead
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"evq-example/evq"
)

func main() {
	queue, err := evq.New(cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379"), evq.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	posts := 10
	if len(os.Args) > 1 {
		if posts, err = strconv.Atoi(os.Args[1]); err != nil {
			log.Fatal(err)
		}
	}
	for n := range posts {
		if err := post(context.Background(), queue, n); err != nil {
			log.Fatal(err)
		}
	}
}

func post(ctx context.Context, queue *evq.Queue, n int) error {
	key := fmt.Sprintf("thread:%d", n%3) // events of one key stay in order
	payload := fmt.Appendf(nil, `{"post":%d,"text":"Hello"}`, n)
	about := evq.About{Type: "PostCreated"}
	if run := os.Getenv("EVQ_RUN"); run != "" {
		about.Unique = fmt.Sprintf("%s:%d", run, n)
	}
	for {
		var partition int64
		var id string
		var err error
		if in, _ := strconv.Atoi(os.Getenv("EVQ_IN_MS")); in > 0 {
			at := time.Now().Add(time.Duration(in) * time.Millisecond)
			partition, id, err = queue.Schedule(ctx, at, key, payload, about)
		} else {
			partition, id, err = queue.Trigger(ctx, key, payload, about)
		}
		if errors.Is(err, evq.ErrFull) {
			log.Print("full: waiting")
			time.Sleep(100 * time.Millisecond) // the workers are behind; nothing was written
			continue
		}
		if err == nil {
			fmt.Println(partition, id, key)
		}
		return err
	}
}
