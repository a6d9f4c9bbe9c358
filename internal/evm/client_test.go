package evm

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
)

// What a node calls a block's hash is stored and shown to people: only a hash is.
func TestANodesBlockHash(t *testing.T) {
	t.Parallel()
	const tx = "0x11"
	for hash, fine := range map[string]bool{
		"0x" + strings.Repeat("ab", 32): true, "0x" + strings.Repeat("ab", 33): false, "": false, `\u001b[2J`: false, "0x" + strings.Repeat("zz", 32): false,
	} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ask, _ := io.ReadAll(r.Body)
			result := `{"number":"0x5","hash":"` + hash + `","timestamp":"0x1","baseFeePerGas":"0x1"}`
			if strings.Contains(string(ask), "eth_getTransactionReceipt") {
				result = `{"transactionHash":"` + tx + `","blockNumber":"0x5","blockHash":"` + hash + `","status":"0x1","gasUsed":"0x1","effectiveGasPrice":"0x1"}`
			}
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, result)
		}))
		c, err := NewClient(node.URL, &http.Transport{DisableKeepAlives: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Mined(t.Context(), tx)
		if (err == nil && m != nil) != fine || !fine && !errors.Is(err, anchor.ErrAway) {
			t.Errorf("%q: %+v, %v", hash, m, err)
		}
		node.Close()
	}
}
