// Package quota bounds what a tenant may use: requests per minute, hour and
// day, requests at once, and budgets of tokens, money, sandbox time and egress.
//
// # Model
//
// A Table (tiers as data) says how much; a Plan is one tier seen through one
// endpoint Class; a Key says who. Limiter.Take decides over all buckets of a
// Plan in one atomic step: all are charged or none is. A Ledger reserves and
// settles budgets over run, agent, user and tenant in one atomic step.
//
// # Buckets
//
// Windows are token buckets, kept as one theoretical arrival time each (GCRA,
// ITU-T I.371 annex A). The bucket refills evenly at limit/window and holds
//
//   - minute: floor(burst x limit),
//   - hour and day: limit.
//
// So a standard tenant (60 a minute, burst 1.5) that was idle gets 90 at once
// and then one a second. The sustained rate is the limit, exactly. Any stretch
// of a window's own length admits at most capacity + limit: a full bucket and
// what comes back while it is drawn from. That is 150 a minute here, and the
// windows bound each other: 3,690 an hour, 40,000 a day, each only after as
// long a time of nothing. A cap on concurrent requests is a count of Slots; a
// Slot that is neither released nor renewed comes back by itself.
//
// # Nothings
//
// Three nothings have three names: Unset (nobody decided: refuses), Unlimited
// (decided: nothing to count) and Off (a protection was switched off, which a
// checklist must show).
package quota
