// The job with NATS JetStream: the stream puts a partition's number before the key, and each
// partition has a consumer that is pinned to one client. With strict=1 a partition has one event under
// way at a time: then the order holds through redelivery too.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	group = "workers"
	// How long an asynchronous producer waits for room among its unconfirmed events.
	patience = 10 * time.Second
)

func main() {
	if len(os.Args) < 3 {
		must(errors.New("usage: nats setup|resize|produce|work ADDRESS [name=value ...]"))
	}
	task, address, g := os.Args[1], os.Args[2], given{}
	for _, word := range os.Args[3:] {
		name, value, _ := strings.Cut(word, "=")
		g[name] = value
	}
	switch task {
	case "setup":
		js := connect(address)
		_ = js.DeleteStream(context.Background(), "events")
		makeStream(js, g, 8)
	case "resize":
		js := connect(address)
		waitForTheWord()
		makeStream(js, g, g.number("partitions", 9))
	case "produce":
		produce(g, func() producer { return &sender{connect(address)} })
	case "work":
		runWorkers(address, g)
	default:
		must(fmt.Errorf("no task %s", task))
	}
}

func connect(address string) jetstream.JetStream {
	conn, err := nats.Connect("nats://" + address)
	must(err)
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4000))
	must(err)
	return js
}

// makeStream makes the stream and a consumer for each partition, or brings them to so many.
func makeStream(js jetstream.JetStream, g given, partitions int) {
	storage := jetstream.FileStorage
	if g["storage"] == "memory" {
		storage = jetstream.MemoryStorage
	}
	stream, err := js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{
		Name:     "events",
		Subjects: []string{"e.*"},
		Storage:  storage,
		SubjectTransform: &jetstream.SubjectTransformConfig{
			Source:      "e.*",
			Destination: fmt.Sprintf("p.{{partition(%d,1)}}.{{wildcard(1)}}", partitions),
		},
	})
	must(err)
	for p := range partitions {
		config := jetstream.ConsumerConfig{
			Durable:       fmt.Sprintf("p%d", p),
			FilterSubject: fmt.Sprintf("p.%d.*", p),
			// AckAll is faster, but the first acknowledgement after a takeover would be for the
			// events too that the lost client had not handled.
			AckPolicy:      jetstream.AckExplicitPolicy,
			AckWait:        lease(g),
			MaxAckPending:  10_000,
			PriorityPolicy: jetstream.PriorityPolicyPinned,
			PriorityGroups: []string{group},
			PinnedTTL:      lease(g),
		}
		if g.number("strict", 0) > 0 {
			config.MaxAckPending = 1
		}
		_, err = stream.CreateOrUpdateConsumer(context.Background(), config)
		must(err)
	}
}

// sender is one producer, with asynchronous publishing.
type sender struct{ js jetstream.JetStream }

func (s *sender) send(key string, payload []byte) {
	_, err := s.js.PublishAsync("e."+key, payload, jetstream.WithStallWait(patience))
	must(err)
}

func (s *sender) finish() {
	<-s.js.PublishAsyncComplete()
}

func runWorkers(address string, g given) {
	w := newWork(g)
	strict := g.number("strict", 0) > 0
	w.run(8, func(partition int, j *journal) {
		js := connect(address)
		consumer, err := js.Consumer(context.Background(), "events", fmt.Sprintf("p%d", partition))
		must(err)
		messages, err := consumer.Messages(
			jetstream.PullMaxMessages(1000),
			// A client without a new request for the length of a pin loses it.
			jetstream.PullExpiry(lease(g)/3),
			jetstream.PullPriorityGroup(group))
		must(err)
		defer messages.Stop()
		for !w.ending.Load() {
			message, err := messages.Next(jetstream.NextMaxWait(100 * time.Millisecond))
			if errors.Is(err, nats.ErrTimeout) {
				continue
			}
			must(err)
			for !j.handle(message.Data(), partition) {
				if strict {
					must(message.NakWithDelay(w.delay))
					message = nil
					break
				}
				// In place: an event that is sent again later would be overtaken.
				time.Sleep(w.delay)
			}
			if message != nil {
				must(message.Ack())
			}
		}
	})
}

// lease is the time without a sign of life after which a worker is taken for dead.
func lease(g given) time.Duration {
	return time.Duration(g.number("lease_ms", 30_000)) * time.Millisecond
}
