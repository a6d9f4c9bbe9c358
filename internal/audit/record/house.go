package record

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// HouseLeaf is the house log's leaf for a tenant's checkpoint: it commits to the
// origin, so that the house log tells nobody whose it is.
func HouseLeaf(origin string, salt Salt, tree tlog.Tree) []byte {
	return fmt.Appendf(nil, `{"root":"%s","size":%d,"tenant":{"commit":"%s"}}`,
		tree.Hash, tree.N, appendCommitment(nil, "tenant", salt, []byte(origin)))
}
