// Package redis keeps quota's buckets and budgets in Redis 7 for several
// replicas.
//
// # Model
//
// Each decision is one atomic script in one round trip, and its clock is the
// Redis server's, so the replicas' clocks do not matter. Everything of a tenant
// stands under tenant:{id}:..., and the braces are a Redis Cluster hash tag:
// all keys of a script are in one slot. Every key has a time to live and goes
// when it carries no information.
//
// # When Redis is away
//
// The first failed or late call puts the Client away. From then on nothing
// waits for Redis: callers get their configured answer at once, one goroutine
// tries a write until it succeeds, and the Client is back. Both edges are
// Events. A call that is late may still have charged; it never admits.
//
// Redis must run with maxmemory-policy noeviction (Client.Check says if not):
// an evicted bucket is a full one, an evicted budget an unspent one.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Config is for Open.
type Config struct {
	URL      string        // redis://, rediss:// or unix://, as rueidis.ParseURL reads it
	Deadline time.Duration // of one decision; 50 ms
	OnEvent  func(Event)   // told in order, one at a time; must not block; may be nil
}

// Event says that Redis went away or came back.
type Event struct {
	Away bool
	Err  error // why, when Away; never holds keys or credentials
}

// ErrAway is the error of every call while Redis is away.
var ErrAway = errors.New("redis is away")

// Client is the connection and what is known of its health.
type Client struct {
	deadline time.Duration
	onEvent  func(Event)
	option   rueidis.ClientOption

	conn atomic.Pointer[rueidis.Client] // nil until the first connection
	away atomic.Bool
	life atomic.Uint64    // how often Redis has come back
	now  func() time.Time // in place of Redis's clock, for tests; nil

	mu     sync.Mutex // edges
	closed bool
	ctx    context.Context
	stop   context.CancelFunc
	prober sync.WaitGroup
}

// Open reads the configuration and returns at once: a Client whose Redis
// cannot be reached starts away. The error is a wrong URL. Close it.
func Open(c Config) (*Client, error) {
	opt, err := rueidis.ParseURL(c.URL)
	if err != nil {
		// The parser's error quotes the URL, and the URL may hold a password.
		return nil, errors.New("redis: the URL is not of the form redis://host:6379")
	}
	if c.Deadline <= 0 {
		c.Deadline = 50 * time.Millisecond
	}
	opt.DisableCache = true
	opt.DisableRetry = true
	opt.ClientName = "openclaw"
	opt.Dialer.Timeout = time.Second
	opt.ConnWriteTimeout = time.Second
	opt.ReadBufferEachConn = 64 << 10
	opt.WriteBufferEachConn = 64 << 10
	cl := &Client{deadline: c.Deadline, onEvent: c.OnEvent, option: opt}
	cl.ctx, cl.stop = context.WithCancel(context.Background())
	if err := cl.connect(); err != nil {
		cl.lost(err, 0)
	}
	return cl, nil
}

// Away reports whether Redis is away.
func (c *Client) Away() bool { return c.away.Load() }

// Close ends the connections and the goroutines. Closing twice is fine; every
// call afterwards answers ErrAway.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.away.Store(true)
	c.mu.Unlock()
	c.stop()
	c.prober.Wait()
	if conn := c.conn.Swap(nil); conn != nil {
		(*conn).Close()
	}
}

// Check returns an error if Redis is away or may evict keys under pressure.
func (c *Client) Check(ctx context.Context) error {
	conn := c.conn.Load()
	if conn == nil || c.away.Load() {
		return ErrAway
	}
	info, err := (*conn).Do(ctx, (*conn).B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return fmt.Errorf("check redis: %w", err)
	}
	bounded, policy := false, ""
	for line := range strings.Lines(info) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "maxmemory:"); ok {
			bounded = v != "0"
		}
		if v, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
			policy = v
		}
	}
	if bounded && policy != "noeviction" {
		return fmt.Errorf("redis: maxmemory-policy is %s, and an evicted limit is no limit: set noeviction", policy)
	}
	return nil
}

func (c *Client) connect() error {
	conn, err := rueidis.NewClient(c.option)
	if err != nil {
		return err
	}
	c.conn.Store(&conn)
	return nil
}

// exec runs one script within the deadline. An error of the caller's own ctx
// says nothing about Redis; any other puts the Client away.
func (c *Client) exec(ctx context.Context, s *rueidis.Lua, keys, args []string) (rueidis.RedisMessage, error) {
	conn := c.conn.Load()
	if conn == nil || c.away.Load() {
		return rueidis.RedisMessage{}, ErrAway
	}
	life := c.life.Load()
	bounded, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	m, err := s.Exec(bounded, *conn, keys, args).ToMessage()
	if err == nil {
		return m, nil
	}
	if cause := ctx.Err(); cause != nil {
		return m, cause
	}
	c.lost(err, life)
	return m, fmt.Errorf("%w: %w", ErrAway, err)
}

// lost is the edge to away. A call that began before Redis came back tells of
// its death and not of its new life.
func (c *Client) lost(err error, life uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.away.Load() || life != c.life.Load() {
		return
	}
	c.away.Store(true)
	c.tell(Event{Away: true, Err: err})
	c.prober.Go(c.probe)
}

// probe tries until Redis takes a write again: a replica or a full server
// answers PING, and that is not enough.
func (c *Client) probe() {
	wait := 10 * time.Millisecond
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		if c.try() == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.closed {
				c.life.Add(1)
				c.away.Store(false)
				c.tell(Event{})
			}
			return
		}
		timer.Reset(wait)
		wait = min(2*wait, 500*time.Millisecond)
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		}
	}
}

func (c *Client) try() error {
	if c.conn.Load() == nil {
		if err := c.connect(); err != nil {
			return err
		}
	}
	conn := *c.conn.Load()
	ctx, cancel := context.WithTimeout(c.ctx, max(c.deadline, 100*time.Millisecond))
	defer cancel()
	return conn.Do(ctx, conn.B().Set().Key("openclaw:probe").Value("1").PxMilliseconds(60_000).Build()).Error()
}

func (c *Client) tell(e Event) {
	if c.onEvent != nil {
		c.onEvent(e)
	}
}

// clock is "", for Redis's own.
func (c *Client) clock() string {
	if c.now == nil {
		return ""
	}
	return strconv.FormatInt(c.now().UnixMicro(), 10)
}
