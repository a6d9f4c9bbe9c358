// Command evmserver is a real Ethereum node for tests: go-ethereum with its
// simulated beacon, JSON-RPC on loopback, and beside it commands that no real
// chain has. It prints {"rpc", "control"} and ends with its standard input.
//
//	POST control/mine?n=N        seal N blocks of what is pending
//	POST control/reorg?depth=N   replace the last N blocks by N+1 empty ones; keep=1 leaves their transactions pending
//	POST control/drop            forget what is pending
//	POST control/fund?to=A&wei=W seal a payment
//	POST control/decode          read a raw transaction (hex) as go-ethereum does
package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
	"github.com/ethereum/go-ethereum/node"
)

type server struct {
	chain  *simulated.Backend
	faucet *ecdsa.PrivateKey
}

func main() {
	faucet, err := crypto.GenerateKey()
	check(err)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	port := free.Addr().(*net.TCPAddr).Port
	check(free.Close())
	ether := new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil)
	s := &server{faucet: faucet}
	s.chain = simulated.NewBackend(types.GenesisAlloc{crypto.PubkeyToAddress(faucet.PublicKey): {Balance: new(big.Int).Mul(ether, big.NewInt(1000))}},
		func(n *node.Config, _ *ethconfig.Config) {
			n.HTTPHost, n.HTTPPort, n.HTTPModules = "127.0.0.1", port, []string{"eth", "net", "web3"}
		})
	control, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	mux := http.NewServeMux()
	for path, do := range map[string]func(*http.Request) (any, error){
		"/mine": s.mine, "/reorg": s.reorg, "/drop": s.drop, "/fund": s.fund, "/decode": decode,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := do(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	go func() { _ = http.Serve(control, mux) }()
	fmt.Printf(`{"rpc":"http://127.0.0.1:%d","control":"http://%s"}`+"\n", port, control.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = s.chain.Close()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(r *http.Request, name string, or int) int {
	if n, err := strconv.Atoi(r.FormValue(name)); err == nil {
		return n
	}
	return or
}

func (s *server) mine(r *http.Request) (any, error) {
	for range number(r, "n", 1) {
		s.chain.Commit()
	}
	return s.chain.Client().BlockNumber(r.Context())
}

func (s *server) drop(*http.Request) (any, error) {
	s.chain.Rollback()
	return true, nil
}

func (s *server) reorg(r *http.Request) (any, error) {
	depth := number(r, "depth", 1)
	head, err := s.chain.Client().HeaderByNumber(r.Context(), nil)
	if err != nil {
		return nil, err
	}
	parent, err := s.chain.Client().HeaderByNumber(r.Context(), new(big.Int).Sub(head.Number, big.NewInt(int64(depth))))
	if err != nil {
		return nil, err
	}
	s.chain.Rollback() // it forks only with nothing pending
	if err := s.chain.Fork(parent.Hash()); err != nil {
		return nil, err
	}
	if r.FormValue("keep") == "" {
		s.chain.Rollback() // the node puts orphaned transactions back otherwise
	}
	for range depth + 1 {
		s.chain.Commit()
	}
	return s.chain.Client().BlockNumber(r.Context())
}

func (s *server) fund(r *http.Request) (any, error) {
	ctx := context.WithoutCancel(r.Context())
	wei, ok := new(big.Int).SetString(r.FormValue("wei"), 10)
	if !ok {
		return nil, fmt.Errorf("wei: %q", r.FormValue("wei"))
	}
	to := common.HexToAddress(r.FormValue("to"))
	nonce, err := s.chain.Client().PendingNonceAt(ctx, crypto.PubkeyToAddress(s.faucet.PublicKey))
	if err != nil {
		return nil, err
	}
	id, err := s.chain.Client().ChainID(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := types.SignNewTx(s.faucet, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: nonce, To: &to, Value: wei, Gas: 21000, GasTipCap: big.NewInt(2e9), GasFeeCap: big.NewInt(200e9),
	})
	if err != nil {
		return nil, err
	}
	if err := s.chain.Client().SendTransaction(ctx, tx); err != nil {
		return nil, err
	}
	s.chain.Commit()
	return tx.Hash(), nil
}

func decode(r *http.Request) (any, error) {
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	if err != nil {
		return nil, err
	}
	var tx types.Transaction
	if err := tx.UnmarshalBinary(raw); err != nil {
		return nil, err
	}
	from, err := types.Sender(types.LatestSignerForChainID(tx.ChainId()), &tx)
	if err != nil {
		return nil, err
	}
	again, err := tx.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"type": tx.Type(), "chain_id": tx.ChainId().String(), "nonce": strconv.FormatUint(tx.Nonce(), 10), "gas": strconv.FormatUint(tx.Gas(), 10),
		"tip": tx.GasTipCap().String(), "cap": tx.GasFeeCap().String(), "to": strings.ToLower(tx.To().Hex()), "value": tx.Value().String(),
		"data": hex.EncodeToString(tx.Data()), "hash": tx.Hash().Hex(), "from": strings.ToLower(from.Hex()), "raw": hex.EncodeToString(again),
	}, nil
}
