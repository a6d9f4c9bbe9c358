package postgres

import "github.com/Nissimmiracles/openclaw/internal/tenant"

// ForgetTiles makes the next proof read all it needs.
func (s *Store) ForgetTiles(id tenant.ID) { s.tiles.forget(id) }
