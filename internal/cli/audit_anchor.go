package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/evm"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/verify"
)

func auditAnchor() *cobra.Command {
	return group("anchor", "Show, keep and verify the house log's anchors in a public chain", anchorStatus(), anchorRecord(), anchorVerify())
}

// anchorLine is an anchor for people and scripts. Amounts are wei, in text
// because JSON's numbers may not hold them.
type anchorLine struct {
	Size        int64          `json:"size"`
	Root        string         `json:"root"`
	State       anchor.State   `json:"state"`
	Problem     anchor.Problem `json:"problem,omitempty"`
	ChainID     uint64         `json:"chain_id"`
	Sender      string         `json:"sender"`
	Nonce       uint64         `json:"nonce"`
	Transaction string         `json:"transaction"`
	Attempts    int            `json:"attempts"`
	Block       uint64         `json:"block,omitempty"`
	Paid        string         `json:"paid_wei,omitempty"`
	Created     time.Time      `json:"created"`
	Updated     time.Time      `json:"updated"`
}

func anchorStatus() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: "status", Short: "Show what anchoring is at and the last anchors; exit 1 for a problem", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			sight, err := a.Store.Anchors().Sight(ctx)
			if err != nil {
				return err
			}
			last, err := a.Store.Anchors().Last(ctx, 10)
			if err != nil {
				return err
			}
			lines := make([]anchorLine, 0, len(last))
			for _, an := range last {
				l := anchorLine{an.Tree.N, an.Tree.Hash.String(), an.State, an.Problem, an.ChainID, an.Sender, an.Nonce, an.Hash, len(an.Attempts), 0, "", an.Created.UTC(), an.Updated.UTC()}
				if l.Transaction == "" {
					l.Transaction = an.Attempts[len(an.Attempts)-1].Hash
				}
				if an.Mined != nil {
					l.Block, l.Paid = an.Mined.Block, fmt.Sprint(an.Mined.Paid)
				}
				lines = append(lines, l)
			}
			if f.json {
				err = printJSON(c.OutOrStdout(), map[string]any{"sight": sight, "anchors": lines})
			} else {
				out := c.OutOrStdout()
				if sight.At.IsZero() {
					fmt.Fprintln(out, "no replica anchors: AUDIT_LOG_STORAGE does not name blockchain, or none ran yet")
				} else {
					fmt.Fprintf(out, "looked %s: block %d, balance %s, spent in 24 hours %s\n", sight.At.Format(time.RFC3339), sight.Head, app.Wei(sight.Balance), app.Wei(sight.Day))
				}
				if sight.Problem != "" {
					fmt.Fprintf(out, "PROBLEM %s since %s\n", sight.Problem, sight.Since.Format(time.RFC3339))
				}
				for _, l := range lines {
					fmt.Fprintf(out, "%-9s size %d  %s  block %d  attempts %d  %s\n", l.State, l.Size, l.Transaction, l.Block, l.Attempts, l.Problem)
				}
			}
			if err == nil && sight.Problem != "" {
				return exitCode(exitFailed)
			}
			return err
		})
	}}
	return f.add(c)
}

// houseEvidence is what a file says of the house log: a checkpoint, and for a
// bundle the leaf that must stand under it.
type houseEvidence struct {
	checkpoint string
	index      int64 // -1: a checkpoint alone
}

func readHouse(path string) (h houseEvidence, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, verify.MaxLine)
	if first, _ := in.Peek(1); string(first) != "{" {
		text, err := io.ReadAll(io.LimitReader(in, 1<<20))
		return houseEvidence{string(text), -1}, err
	}
	line, err := in.ReadSlice('\n')
	if err != nil {
		return h, fmt.Errorf("%s: its first line: %w", path, err)
	}
	var header verify.Header
	if err := json.Unmarshal(line, &header); err != nil || header.House == nil || header.House.Index < 0 {
		return h, hint(fmt.Errorf("%s holds no proof of the house log", path), "give a bundle, or the house log's checkpoint")
	}
	return houseEvidence{header.House.Checkpoint, header.House.Index}, nil
}

func anchorRecord() *cobra.Command {
	var f adminFlags
	var out string
	c := &cobra.Command{Use: "record FILE", Short: "Write the anchor that covers a bundle or a house checkpoint to one file; keep both", Args: exactly("FILE"), RunE: func(c *cobra.Command, args []string) error {
		if out == "" {
			return usage{errors.New("missing -o FILE")}
		}
		h, err := readHouse(args[0])
		if err != nil {
			return err
		}
		lines := strings.SplitN(h.checkpoint, "\n", 4)
		var size int64
		if len(lines) < 4 {
			return fmt.Errorf("%s is no checkpoint", args[0])
		}
		if _, err := fmt.Sscan(lines[1], &size); err != nil || size < 1 {
			return fmt.Errorf("%s is no checkpoint", args[0])
		}
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			origin, err := a.Store.Anchors().Origin(ctx)
			if err != nil {
				return err
			}
			need := size
			if h.index >= 0 {
				need = h.index + 1
			}
			an, err := a.Store.Anchors().Covering(ctx, need)
			if fault.CodeOf(err) == fault.NotFound && h.index < 0 { // then as much of it as there is
				an, err = a.Store.Anchors().Largest(ctx)
			}
			if err != nil {
				return hint(err, "`openclaw audit anchor status` shows when the next one is due")
			}
			proof, err := a.Store.Anchors().Consistency(ctx, an.Tree.N, size)
			if err != nil {
				return err
			}
			rec, err := anchor.NewRecord(origin, an, size, proof)
			if err != nil {
				return err
			}
			if _, err := whole(out, func(w io.Writer) error { return printJSON(w, rec) }); err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]any{"file": out, "size": rec.Size, "transaction": rec.Transaction, "state": an.State})
			}
			fmt.Fprintf(c.OutOrStdout(), "wrote %s: %d leaves in transaction %s, %s\n", out, rec.Size, rec.Transaction, an.State)
			return nil
		})
	}}
	c.Flags().StringVarP(&out, "out", "o", "", "file to write; it appears when it is whole")
	return f.add(c)
}

func anchorVerify() *cobra.Command {
	var record, key, rpc, sender string
	var confirmations uint64
	var asJSON bool
	c := &cobra.Command{
		Use: "verify FILE", Short: "Check an anchor against a bundle or a house checkpoint; says what it did not check", Args: exactly("FILE"),
		Long: "Check an anchor against a bundle's house checkpoint, or one given alone: offline, and with --rpc against any node of the chain.\nExit 0: what was asked holds; 1: something is wrong; 2: nothing could be judged. The bundle itself is openclaw-verify's to check.",
		RunE: func(c *cobra.Command, args []string) error {
			report, err := verifyAnchor(c.Context(), args[0], record, key, rpc, sender, confirmations)
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), "openclaw: error:", err)
				return exitCode(exitUsage)
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), report)
			} else {
				for _, l := range report.Checked {
					fmt.Fprintln(c.OutOrStdout(), "checked   "+l)
				}
				for _, l := range report.Unchecked {
					fmt.Fprintln(c.OutOrStdout(), "unchecked "+l)
				}
				if report.Wrong != "" {
					fmt.Fprintln(c.OutOrStdout(), "WRONG     "+report.Wrong)
				}
			}
			if err == nil && report.Wrong != "" {
				return exitCode(exitFailed)
			}
			return err
		},
	}
	fs := c.Flags()
	fs.StringVar(&record, "anchor", "", "file from `openclaw audit anchor record`")
	fs.StringVar(&key, "house-key", "", "the house log's verifier key, or a file with it")
	fs.StringVar(&rpc, "rpc", "", "JSON-RPC URL of a node to ask; yours, not the operator's")
	fs.StringVar(&sender, "sender", "", "account that must have paid")
	fs.Uint64Var(&confirmations, "confirmations", 12, "blocks that must stand, its own counted")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func verifyAnchor(ctx context.Context, file, record, key, rpc, sender string, confirmations uint64) (evm.Report, error) {
	if record == "" || key == "" {
		return evm.Report{}, errors.New("--anchor and --house-key are needed")
	}
	if text, err := os.ReadFile(key); err == nil {
		key = string(text)
	}
	v, err := note.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		return evm.Report{}, fmt.Errorf("--house-key: %w", err)
	}
	f, err := os.Open(record)
	if err != nil {
		return evm.Report{}, err
	}
	defer f.Close()
	ask := evm.Ask{Origin: v.Name(), Sender: sender, Confirmations: confirmations}
	if ask.Record, err = anchor.ReadRecord(f); err != nil {
		return evm.Report{}, err
	}
	h, err := readHouse(file)
	if err != nil {
		return evm.Report{}, err
	}
	ask.Index = h.index
	if ask.Head, err = checkpoint.Open([]byte(h.checkpoint), v.Name(), strings.TrimSpace(key)); err != nil {
		return evm.Report{Wrong: err.Error(), Checked: []string{}, Unchecked: []string{}}, nil
	}
	if rpc != "" {
		if ask.Node, err = evm.NewClient(rpc, nil); err != nil {
			return evm.Report{}, fmt.Errorf("--rpc: %w", err)
		}
	}
	r, err := evm.Verify(ctx, ask)
	r.Checked = append([]string{fmt.Sprintf("signature of the house checkpoint of %d leaves", ask.Head.N)}, r.Checked...)
	return r, err
}
