package quota

import "time"

// Mode says whether there is a limit, and which nothing it is if there is none.
type Mode uint8

const (
	Unset     Mode = iota // nobody decided: refuses
	Limited               // numbers follow
	Shared                // a class without numbers of its own; the tenant's and the user's are charged
	Unlimited             // decided: there is nothing to count
	Off                   // a protection switched off; shown as such
)

func (m Mode) String() string {
	return [...]string{"unset", "limited", "shared", "unlimited", "off"}[m]
}

// Limits are the numbers for one subject. A window that is 0 is not limited;
// in Mode Limited at least one number is set.
type Limits struct {
	Mode       Mode
	PerMinute  int64
	PerHour    int64
	PerDay     int64
	Burst      float64 // of the minute's bucket: it holds floor(Burst x PerMinute); >= 1
	Concurrent int64   // requests at once
}

// Sandbox are a tier's sandbox numbers. Package quota only carries them.
type Sandbox struct {
	CPUCores    int64
	MemoryMB    int64
	Timeout     time.Duration
	NetworkMbps int64
	DiskMB      int64
}

// ClassLimits are what an endpoint class adds to the tenant's and the user's
// limits (Limited, Shared), or in their place (Unlimited, Off).
type ClassLimits struct {
	Mode   Mode
	Tenant Limits // of this class, over the whole tenant
	User   Limits // of this class, per user
}

// Tier is one row of the table.
type Tier struct {
	Name    string
	Tenant  Limits
	User    Limits
	Sandbox Sandbox
	Budgets Budgets // none where the table gives none
	Classes map[string]ClassLimits
}

// Bounds of the numbers in a table. Buckets count in microseconds: at
// 6,000,000 a minute one token is 10 of them, and rounding it up costs nothing
// that matters.
const (
	maxPerMinute  = 6_000_000
	maxPerHour    = 60 * maxPerMinute
	maxPerDay     = 24 * maxPerHour
	maxBurst      = 100
	maxConcurrent = 10_000
)
