// Package verifytest asks the verifier what no file asks it by itself.
package verifytest

import (
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/verify"
)

// Canonical reports what the verifier has against a value in a record: it makes
// it an export's only one. The value stands in it twice, in a list and as a
// member, so that nothing but one value fits.
func Canonical(value []byte) error {
	body := fmt.Sprintf(`{"l":[%s],"m":%s}`, value, value)
	kept := fmt.Sprintf("test\n1\n%s\n\n— test AAAAAAA=\n", tlog.RecordHash([]byte(body)))
	export := fmt.Sprintf("{\"body\":%s,\"seq\":1}\n", body)
	r, err := verify.Verify(strings.NewReader(export), verify.Options{Since: kept, Checkpoint: kept})
	switch {
	case err != nil:
		return err
	case r.Wrong != nil:
		return fmt.Errorf("%s: %s", r.Wrong.Check, r.Wrong.Why)
	case len(r.Missing) > 0 || r.To != 1:
		return fmt.Errorf("judged records %d to %d; %v", r.From, r.To, r.Missing)
	}
	return nil
}
