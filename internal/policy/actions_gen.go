// Code generated from actions.csv by TestActionsGenerated -update. DO NOT EDIT.

package policy

const (
	TenantRead             Action = iota + 1 // see the tenant's own name and tier and status
	TenantUpdate                             // change the tenant's own name and contact
	UsersRead                                // list and see users
	UsersCreate                              // invite or create a user
	UsersUpdate                              // change a user or reset their password
	UsersDelete                              // remove a user
	RolesGrant                               // give a user a role
	RolesRevoke                              // take a role from a user
	ServiceAccountsRead                      // list and see service accounts
	ServiceAccountsCreate                    // create a service account and its first secret
	ServiceAccountsUpdate                    // change a service account's grants or rotate its secret
	ServiceAccountsDelete                    // remove a service account
	AgentsRead                               // list and see agents
	AgentsCreate                             // create an agent
	AgentsUpdate                             // change an agent
	AgentsDelete                             // delete an agent
	RunsRead                                 // list and watch runs
	RunsStart                                // start a run of an agent
	RunsCancel                               // stop a run
	MemoriesRead                             // list and see memories
	MemoriesSearch                           // search memories
	MemoriesCreate                           // store a memory
	MemoriesUpdate                           // change a memory
	MemoriesDelete                           // delete a memory
	GraphRead                                // read nodes and edges and neighbours
	GraphWrite                               // change nodes and edges
	ModelsList                               // list the models on offer
	ModelsCall                               // call a model
	EmbeddingsCreate                         // turn text into vectors
	InspectRun                               // scan a text for attacks
	UsageRead                                // see usage and budgets
	AnalyticsRead                            // see aggregates
	AuditRead                                // read the audit log
	AuditExport                              // export the audit log
	AuditProve                               // fetch checkpoints and proofs
	IncidentsRead                            // list and see incidents
	IncidentsManage                          // work on and close incidents
	BlocksRead                               // list blocked addresses
	BlocksManage                             // block and unblock addresses
	ComplianceRead                           // read compliance reports
	PrivacyExport                            // export what is held about a person
	PrivacyErase                             // erase what is held about a person
	KeysRead                                 // see key ids and ages
	KeysRotate                               // rotate the tenant's key
	SettingsRead                             // read settings
	SettingsUpdate                           // change settings
	UpstreamCall                             // a proxied request to an upstream or a tool
	SelfRead                                 // see one's own account
	SelfPassword                             // change one's own password
	SelfLogout                               // end one's own sessions
	SelfMFA                                  // set up or remove one's own second factor
	PlatformTenantsRead                      // list and see tenants
	PlatformTenantsCreate                    // create a tenant
	PlatformTenantsUpdate                    // change a tenant's name or tier
	PlatformTenantsSuspend                   // suspend or resume a tenant
	PlatformTenantsIsolate                   // isolate a tenant after an incident
	PlatformTenantsErase                     // erase a tenant
	PlatformContentRead                      // read a tenant's content for a recorded reason
	PlatformBlocksRead                       // list addresses blocked for the whole platform
	PlatformBlocksManage                     // block and unblock addresses for the whole platform
	PlatformAuditKeep                        // place legal holds and decide how long audit logs are kept
	PlatformConfigRead                       // see the effective configuration
	PublicHealth                             // ask whether the service lives
	PublicLogin                              // exchange a password for tokens
	PublicRefresh                            // exchange a refresh token for a new one
	PublicOAuth                              // the OAuth endpoints which check their own credentials
	PublicWellknown                          // keys and metadata under /.well-known
	PublicDocs                               // the API's description
)

var actions = [...]actionInfo{
	TenantRead:             {"tenant.read", Read, ForTenant, "see the tenant's own name and tier and status"},
	TenantUpdate:           {"tenant.update", Write, ForTenant, "change the tenant's own name and contact"},
	UsersRead:              {"users.read", Read, ForTenant, "list and see users"},
	UsersCreate:            {"users.create", Write, ForTenant, "invite or create a user"},
	UsersUpdate:            {"users.update", Write, ForTenant, "change a user or reset their password"},
	UsersDelete:            {"users.delete", Write, ForTenant, "remove a user"},
	RolesGrant:             {"roles.grant", Write, ForTenant, "give a user a role"},
	RolesRevoke:            {"roles.revoke", Write, ForTenant, "take a role from a user"},
	ServiceAccountsRead:    {"service_accounts.read", Read, ForTenant, "list and see service accounts"},
	ServiceAccountsCreate:  {"service_accounts.create", Write, ForTenant, "create a service account and its first secret"},
	ServiceAccountsUpdate:  {"service_accounts.update", Write, ForTenant, "change a service account's grants or rotate its secret"},
	ServiceAccountsDelete:  {"service_accounts.delete", Write, ForTenant, "remove a service account"},
	AgentsRead:             {"agents.read", Read, ForTenant, "list and see agents"},
	AgentsCreate:           {"agents.create", Write, ForTenant, "create an agent"},
	AgentsUpdate:           {"agents.update", Write, ForTenant, "change an agent"},
	AgentsDelete:           {"agents.delete", Write, ForTenant, "delete an agent"},
	RunsRead:               {"runs.read", Read, ForTenant, "list and watch runs"},
	RunsStart:              {"runs.start", Write, ForTenant, "start a run of an agent"},
	RunsCancel:             {"runs.cancel", Write, ForTenant, "stop a run"},
	MemoriesRead:           {"memories.read", Read, ForTenant, "list and see memories"},
	MemoriesSearch:         {"memories.search", Read, ForTenant, "search memories"},
	MemoriesCreate:         {"memories.create", Write, ForTenant, "store a memory"},
	MemoriesUpdate:         {"memories.update", Write, ForTenant, "change a memory"},
	MemoriesDelete:         {"memories.delete", Write, ForTenant, "delete a memory"},
	GraphRead:              {"graph.read", Read, ForTenant, "read nodes and edges and neighbours"},
	GraphWrite:             {"graph.write", Write, ForTenant, "change nodes and edges"},
	ModelsList:             {"models.list", Read, ForTenant, "list the models on offer"},
	ModelsCall:             {"models.call", Write, ForTenant, "call a model"},
	EmbeddingsCreate:       {"embeddings.create", Write, ForTenant, "turn text into vectors"},
	InspectRun:             {"inspect.run", Read, ForTenant, "scan a text for attacks"},
	UsageRead:              {"usage.read", Read, ForTenant, "see usage and budgets"},
	AnalyticsRead:          {"analytics.read", Read, ForTenant, "see aggregates"},
	AuditRead:              {"audit.read", Read, ForTenant, "read the audit log"},
	AuditExport:            {"audit.export", Read, ForTenant, "export the audit log"},
	AuditProve:             {"audit.prove", Read, ForTenant, "fetch checkpoints and proofs"},
	IncidentsRead:          {"incidents.read", Read, ForTenant, "list and see incidents"},
	IncidentsManage:        {"incidents.manage", Write, ForTenant, "work on and close incidents"},
	BlocksRead:             {"blocks.read", Read, ForTenant, "list blocked addresses"},
	BlocksManage:           {"blocks.manage", Write, ForTenant, "block and unblock addresses"},
	ComplianceRead:         {"compliance.read", Read, ForTenant, "read compliance reports"},
	PrivacyExport:          {"privacy.export", Read, ForTenant, "export what is held about a person"},
	PrivacyErase:           {"privacy.erase", Write, ForTenant, "erase what is held about a person"},
	KeysRead:               {"keys.read", Read, ForTenant, "see key ids and ages"},
	KeysRotate:             {"keys.rotate", Write, ForTenant, "rotate the tenant's key"},
	SettingsRead:           {"settings.read", Read, ForTenant, "read settings"},
	SettingsUpdate:         {"settings.update", Write, ForTenant, "change settings"},
	UpstreamCall:           {"upstream.call", Write, ForTenant, "a proxied request to an upstream or a tool"},
	SelfRead:               {"self.read", Read, ForSelf, "see one's own account"},
	SelfPassword:           {"self.password", Write, ForSelf, "change one's own password"},
	SelfLogout:             {"self.logout", Write, ForSelf, "end one's own sessions"},
	SelfMFA:                {"self.mfa", Write, ForSelf, "set up or remove one's own second factor"},
	PlatformTenantsRead:    {"platform.tenants.read", Read, ForPlatform, "list and see tenants"},
	PlatformTenantsCreate:  {"platform.tenants.create", Write, ForPlatform, "create a tenant"},
	PlatformTenantsUpdate:  {"platform.tenants.update", Write, ForPlatform, "change a tenant's name or tier"},
	PlatformTenantsSuspend: {"platform.tenants.suspend", Write, ForPlatform, "suspend or resume a tenant"},
	PlatformTenantsIsolate: {"platform.tenants.isolate", Write, ForPlatform, "isolate a tenant after an incident"},
	PlatformTenantsErase:   {"platform.tenants.erase", Write, ForPlatform, "erase a tenant"},
	PlatformContentRead:    {"platform.content.read", Read, ForPlatform, "read a tenant's content for a recorded reason"},
	PlatformBlocksRead:     {"platform.blocks.read", Read, ForPlatform, "list addresses blocked for the whole platform"},
	PlatformBlocksManage:   {"platform.blocks.manage", Write, ForPlatform, "block and unblock addresses for the whole platform"},
	PlatformAuditKeep:      {"platform.audit.keep", Write, ForPlatform, "place legal holds and decide how long audit logs are kept"},
	PlatformConfigRead:     {"platform.config.read", Read, ForPlatform, "see the effective configuration"},
	PublicHealth:           {"public.health", Read, ForPublic, "ask whether the service lives"},
	PublicLogin:            {"public.login", Write, ForPublic, "exchange a password for tokens"},
	PublicRefresh:          {"public.refresh", Write, ForPublic, "exchange a refresh token for a new one"},
	PublicOAuth:            {"public.oauth", Write, ForPublic, "the OAuth endpoints which check their own credentials"},
	PublicWellknown:        {"public.wellknown", Read, ForPublic, "keys and metadata under /.well-known"},
	PublicDocs:             {"public.docs", Read, ForPublic, "the API's description"},
}
