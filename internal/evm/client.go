package evm

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
)

// maxAnswer bounds a node's answer: a block's header and its transactions'
// hashes. timeout bounds each call.
const (
	maxAnswer = 4 << 20
	timeout   = 15 * time.Second
)

// Client calls a node. It believes nothing it can check, and the rest is the
// node's word.
type Client struct {
	url  string
	http *http.Client
}

// NewClient makes a client of a JSON-RPC endpoint. Its URL may hold a secret and
// is in no error. Redirects are not followed.
func NewClient(rpc string, transport http.RoundTripper) (*Client, error) {
	u, err := url.Parse(rpc)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("want an http or https URL")
	}
	return &Client{rpc, &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}, nil
}

// RPCError is the node's refusal.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *RPCError) Error() string { return fmt.Sprintf("the node says %d: %.200q", e.Code, e.Message) }

func (c *Client) call(ctx context.Context, out any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return anchor.ErrAway
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return fmt.Errorf("%s: %w: %w", method, anchor.ErrAway, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(answer) > maxAnswer {
		return fmt.Errorf("%s: %w: its answer is cut or too long", method, anchor.ErrAway)
	}
	if err := parseAnswer(answer, out); err != nil {
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%w, status %d", err, resp.StatusCode)
		}
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// parseAnswer reads a JSON-RPC 2.0 answer to call 1.
func parseAnswer(answer []byte, out any) error {
	var a struct {
		ID     json.RawMessage `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *RPCError       `json:"error"`
	}
	if json.Unmarshal(answer, &a) != nil || a.Error == nil && (string(a.ID) != "1" || a.Result == nil) {
		return fmt.Errorf("%w: its answer is not JSON-RPC", anchor.ErrAway)
	}
	if a.Error != nil {
		return a.Error
	}
	if err := json.Unmarshal(a.Result, out); err != nil {
		return fmt.Errorf("%w: its answer is malformed", anchor.ErrAway)
	}
	return nil
}

// quantity is a number as JSON-RPC writes it; more than 64 bits read as their
// highest.
type quantity uint64

func (q *quantity) UnmarshalJSON(b []byte) error {
	s, ok := strings.CutPrefix(strings.Trim(string(b), `"`), "0x")
	n, fine := new(big.Int).SetString(s, 16)
	if !ok || !fine || len(s) > 64 || n.Sign() < 0 || strings.ContainsAny(s, "+-_") {
		return errors.New("not a quantity")
	}
	if *q = math.MaxUint64; n.IsUint64() {
		*q = quantity(n.Uint64())
	}
	return nil
}

type block struct {
	Number  quantity `json:"number"`
	Hash    string   `json:"hash"`
	BaseFee quantity `json:"baseFeePerGas"`
	Time    quantity `json:"timestamp"`
}

type receipt struct {
	Hash      string   `json:"transactionHash"`
	Block     quantity `json:"blockNumber"`
	BlockHash string   `json:"blockHash"`
	Status    quantity `json:"status"`
	GasUsed   quantity `json:"gasUsed"`
	Price     quantity `json:"effectiveGasPrice"`
}

// Transaction is one as a node tells it.
type Transaction struct {
	Hash      string    `json:"hash"`
	From      string    `json:"from"`
	Input     string    `json:"input"`
	BlockHash *string   `json:"blockHash"`
	ChainID   *quantity `json:"chainId"`
}

// Transaction asks for one by its hash; nil means that the node has none.
func (c *Client) Transaction(ctx context.Context, hash string) (*Transaction, error) {
	var t *Transaction
	return t, c.call(ctx, &t, "eth_getTransactionByHash", hash)
}

// ChainID asks which chain this is.
func (c *Client) ChainID(ctx context.Context) (uint64, error) {
	var id quantity
	return uint64(id), c.call(ctx, &id, "eth_chainId")
}

// Head asks for the number of the newest block.
func (c *Client) Head(ctx context.Context) (uint64, error) {
	var n quantity
	return uint64(n), c.call(ctx, &n, "eth_blockNumber")
}

var isHash = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)

// Mined finds a transaction in the chain as it is now: the block of its receipt
// is asked for again by number, so that a receipt kept from a lost fork does not
// count.
func (c *Client) Mined(ctx context.Context, hash string) (*anchor.Mined, error) {
	var r *receipt
	if err := c.call(ctx, &r, "eth_getTransactionReceipt", hash); err != nil || r == nil {
		var said *RPCError
		if errors.As(err, &said) && strings.Contains(said.Message, "indexing") { // geth, just after its start
			err = fmt.Errorf("%w: %w", anchor.ErrAway, err)
		}
		return nil, err
	}
	var b *block
	if err := c.call(ctx, &b, "eth_getBlockByNumber", "0x"+strconv.FormatUint(uint64(r.Block), 16), false); err != nil {
		return nil, err
	}
	if b == nil || b.Hash != r.BlockHash || !strings.EqualFold(r.Hash, hash) {
		return nil, nil
	}
	if !isHash.MatchString(b.Hash) { // it is stored and shown
		return nil, fmt.Errorf("%w: its block's hash is none", anchor.ErrAway)
	}
	paid, n := uint64(r.GasUsed)*uint64(r.Price), uint64(r.GasUsed)
	if n != 0 && paid/n != uint64(r.Price) {
		paid = math.MaxUint64
	}
	return &anchor.Mined{Block: uint64(r.Block), BlockHash: r.BlockHash, Time: time.Unix(int64(min(b.Time, 1<<40)), 0).UTC(), OK: r.Status == 1, Paid: paid}, nil
}

// Wallet is an account on a chain: anchor.Chain.
type Wallet struct {
	*Client
	key *Key
}

var _ anchor.Chain = (*Wallet)(nil)

// NewWallet joins a node and a key.
func NewWallet(c *Client, k *Key) *Wallet { return &Wallet{c, k} }

// Sender is the account.
func (w *Wallet) Sender() string { return w.key.Address().String() }

// Look implements anchor.Chain.
func (w *Wallet) Look(ctx context.Context) (v anchor.View, err error) {
	var id, tip, nonce, balance quantity
	var head *block
	for _, ask := range []struct {
		out    any
		method string
		params []any
	}{
		{&id, "eth_chainId", nil},
		{&head, "eth_getBlockByNumber", []any{"latest", false}},
		{&tip, "eth_maxPriorityFeePerGas", nil},
		{&nonce, "eth_getTransactionCount", []any{w.Sender(), "latest"}},
		{&balance, "eth_getBalance", []any{w.Sender(), "latest"}},
	} {
		if err := w.call(ctx, ask.out, ask.method, ask.params...); err != nil {
			return v, fmt.Errorf("%w: %w", anchor.ErrAway, err)
		}
	}
	if head == nil || head.BaseFee == 0 {
		return v, fmt.Errorf("%w: its newest block has no base fee (EIP-1559)", anchor.ErrAway)
	}
	return anchor.View{ChainID: uint64(id), Head: uint64(head.Number), BaseFee: uint64(head.BaseFee), Tip: uint64(tip), Nonce: uint64(nonce), Balance: uint64(balance)}, nil
}

// Sign implements anchor.Chain.
func (w *Wallet) Sign(chainID, nonce uint64, fee anchor.Fee, gas uint64, data []byte) (anchor.Signed, error) {
	raw, hash, err := w.key.Sign(&Tx{ChainID: chainID, Nonce: nonce, Tip: fee.Tip, Cap: fee.Cap, Gas: gas, To: w.key.Address(), Data: data})
	return anchor.Signed{Hash: hash.String(), Raw: raw}, err
}

// Send implements anchor.Chain. Nodes differ in words and agree on no codes; an
// answer that is not understood is a refusal.
func (w *Wallet) Send(ctx context.Context, raw []byte) error {
	var hash string
	err := w.call(ctx, &hash, "eth_sendRawTransaction", "0x"+hex.EncodeToString(raw))
	var said *RPCError
	if !errors.As(err, &said) {
		return err
	}
	text := strings.ToLower(said.Message)
	for _, c := range []struct {
		word string
		kind error
	}{
		{"already known", nil}, {"already imported", nil}, {"known transaction", nil}, {"alreadyknown", nil},
		{"underpriced", anchor.ErrUnderpriced}, {"fee too low", anchor.ErrUnderpriced}, {"less than block base fee", anchor.ErrUnderpriced},
		{"feetoolow", anchor.ErrUnderpriced}, {"below minimum", anchor.ErrUnderpriced},
		{"insufficient funds", anchor.ErrFunds}, {"insufficientfunds", anchor.ErrFunds}, {"upfront cost", anchor.ErrFunds},
		{"nonce too low", anchor.ErrNonce}, {"oldnonce", anchor.ErrNonce},
	} {
		if strings.Contains(text, c.word) {
			if c.kind == nil {
				return nil
			}
			return fmt.Errorf("%w: %w", c.kind, err)
		}
	}
	return fmt.Errorf("%w: %w", anchor.ErrRefused, err)
}
