package merkle

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// Memory is Hashes in memory, for one process: 32 bytes a leaf and a little.
// The zero value is empty and ready.
type Memory struct {
	mu     sync.RWMutex
	levels [8][]tlog.Hash // 0, 8, ... 56
}

// Append stores leaves and the nodes that Frontier.Append gave for them.
func (m *Memory) Append(leaves []tlog.Hash, nodes []Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range nodes {
		level := &m.levels[n.Level/BlockHeight]
		if n.Level%BlockHeight != 0 || n.Level == 0 || n.Index != int64(len(*level)) {
			return fmt.Errorf("storing node %d of level %d: out of order", n.Index, n.Level)
		}
		*level = append(*level, n.Hash)
	}
	m.levels[0] = append(m.levels[0], leaves...)
	return nil
}

// ReadHashes implements Hashes.
func (m *Memory) ReadHashes(_ context.Context, level int, index int64, dst []tlog.Hash) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if level%BlockHeight != 0 || level/BlockHeight >= len(m.levels) || index < 0 ||
		index+int64(len(dst)) > int64(len(m.levels[level/BlockHeight])) {
		return fmt.Errorf("reading %d hashes from %d of level %d: %w", len(dst), index, level, ErrCorrupt)
	}
	copy(dst, m.levels[level/BlockHeight][index:])
	return nil
}
