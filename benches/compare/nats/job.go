package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The job that every peer does, as benches/compare/README.md has it.
const (
	producers    = 4
	payloadBytes = 200
	// Key, number and time, with which a payload begins and a journal's line too.
	headBytes    = 34
	journalBytes = 64 * 1024
)

// given is what the command line says after task and address.
type given map[string]string

func (g given) number(name string, otherwise int) int {
	if g[name] == "" {
		return otherwise
	}
	number, err := strconv.Atoi(g[name])
	must(err)
	return number
}

// must ends the program on an error: the orchestrator reads why from its log.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// producer is one producer's connection.
type producer interface {
	// send hands an event over, without a wait for its confirmation.
	send(key string, payload []byte)
	// finish waits until all events are confirmed.
	finish()
}

// produce obeys lines of standard input: EVENTS RATE sends so many at so many a second, or at once.
func produce(g given, connect func() producer) {
	keys := g.number("keys", 10_000) / producers
	var all [producers]producer
	var next [producers]int
	for n := range all {
		all[n] = connect()
	}
	fmt.Println("ready")
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		if strings.HasPrefix(input.Text(), "partitions ") {
			continue // The server routes.
		}
		var events, rate int
		_, err := fmt.Sscan(input.Text(), &events, &rate)
		must(err)
		gap := int64(0)
		if rate > 0 {
			gap = int64(producers * 1_000_000 / rate)
		}
		start := now()
		var wait sync.WaitGroup
		for n := range all {
			wait.Add(1)
			go func() {
				defer wait.Done()
				share(all[n], n, next[n], keys, events/producers, gap)
				next[n] += events / producers
			}()
		}
		wait.Wait()
		fmt.Println("sent", start, now())
	}
}

func share(to producer, nth, first, keys, events int, gap int64) {
	start := now()
	pad := strings.Repeat(".", payloadBytes)
	for n := range events {
		due, sent := start+int64(n)*gap, now()
		if gap > 0 && sent < due {
			time.Sleep(time.Duration(due-sent) * time.Microsecond)
			sent = now()
		} else if gap > 0 {
			// A producer that is late was held up: its event counts from when it was due.
			sent = due
		}
		key := fmt.Sprintf("%06d", nth+(first+n)%keys*producers)
		payload := make([]byte, 0, payloadBytes)
		payload = fmt.Appendf(payload, "%s %010d %016d ", key, (first+n)/keys, sent)
		to.send(key, append(payload, pad[len(payload):]...))
	}
	to.finish()
}

func now() int64 { return time.Now().UnixMicro() }

// waitForTheWord says that all is prepared, and waits until standard input ends.
func waitForTheWord() {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	must(err)
}

// work is what all workers of a process share.
type work struct {
	journals  string
	atOnce    bool
	busy      time.Duration
	delay     time.Duration
	failing   string
	failures  atomic.Int64
	handled   atomic.Int64
	milestone atomic.Int64
	ending    atomic.Bool
	wait      sync.WaitGroup
}

func newWork(g given) *work {
	return &work{
		journals: g["journals"],
		atOnce:   g.number("at_once", 0) > 0,
		busy:     time.Duration(g.number("busy_us", 0)) * time.Microsecond,
		delay:    time.Duration(g.number("delay_ms", 500)) * time.Millisecond,
		failing:  strings.ReplaceAll(g["failing"], "-", " "),
	}
}

// run runs workers until standard input ends. A line of it is the next milestone, or partitions N:
// then there are as many workers.
func (w *work) run(workers int, worker func(nth int, j *journal)) {
	start := func(nth int) {
		file, err := os.Create(fmt.Sprintf("%s.%d", w.journals, nth))
		must(err)
		j := &journal{work: w, file: file}
		w.wait.Add(1)
		go func() {
			defer w.wait.Done()
			worker(nth, j)
			j.writeOut()
		}()
	}
	for n := range workers {
		start(n)
	}
	fmt.Println("ready")
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		if count, is := strings.CutPrefix(input.Text(), "partitions "); is {
			to, err := strconv.Atoi(count)
			must(err)
			for ; workers < to; workers++ {
				start(workers)
			}
			continue
		}
		milestone, err := strconv.ParseInt(input.Text(), 10, 64)
		must(err)
		w.milestone.Store(milestone)
	}
	w.ending.Store(true)
	w.wait.Wait()
}

// journal is what one worker has handled: a line for each event.
type journal struct {
	work  *work
	file  *os.File
	lines []byte
}

// handle handles an event; false if that failed, and has to be tried again after the delay.
func (j *journal) handle(payload []byte, partition int) bool {
	w := j.work
	if w.failing != "" && strings.HasPrefix(string(payload), w.failing) && w.failures.Add(1) < 3 {
		return false
	}
	if w.busy > 0 {
		time.Sleep(w.busy)
	}
	j.lines = append(j.lines, payload[:headBytes]...)
	j.lines = fmt.Appendf(j.lines, " %016d %02d\n", now(), partition)
	if w.atOnce || len(j.lines) >= journalBytes {
		j.writeOut()
	}
	if handled := w.handled.Add(1); handled == w.milestone.Load() {
		fmt.Println("handled", handled)
	}
	return true
}

func (j *journal) writeOut() {
	_, err := j.file.Write(j.lines)
	must(err)
	j.lines = j.lines[:0]
}
