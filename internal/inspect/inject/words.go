package inject

// kw is a word that means something to SQL, Cypher or a document store.
type kw uint8

// class groups words by the part they play in a rule.
type class uint16

const (
	cLogic  class = 1 << iota // or, and, xor
	cCmp                      // like, in, between, is, regexp
	cFunc                     // functions seen in blind injection
	cTime                     // functions that wait
	cDanger                   // functions that read files, leak by error or run programs
	cStmt                     // may begin a stacked statement
	cLit                      // null, true, false
	cSys                      // catalogues and system schemas
	cCypher                   // clauses of Cypher
)

const (
	kNone kw = iota
	kOr
	kAnd
	kXor
	kNot
	kLike
	kIn
	kBetween
	kIs
	kNull
	kBool
	kUnion
	kAll
	kSelect
	kFrom
	kWhere
	kGroup
	kOrder
	kBy
	kHaving
	kLimit
	kOffset
	kProcedure
	kAnalyse
	kInto
	kOutfile
	kInsert
	kUpdate
	kDelete
	kDrop
	kAlter
	kCreate
	kTruncate
	kObject // table, database, schema, view, index, user, function, trigger, login, role
	kValues
	kSet
	kExec
	kImmediate
	kDeclare
	kWaitfor
	kDelay
	kShutdown
	kGrant
	kCase
	kWhen
	kThen
	kIf
	kExists
	kSleep
	kPgSleep
	kBenchmark
	kFunc
	kChar
	kConcat
	kDangerFunc
	kPkg
	kXp
	kSys
	kReturn
	kMatch
	kDetach
	kCall
	kLoad
	kCSV
	kWith
	kMerge
	kUnwind
	kForeach
	kRemove
	kApoc
	kCollate
	kRlike
	kDiv
	kThis
	kCopy
	kProgram
	kEnd
	kBinary
	kAttach
	kBackup
	kVar
	kWhile
	kMath
	kStarts
)

type wordDef struct {
	id    kw
	class class
	words string // separated by spaces
}

var wordDefs = []wordDef{
	{kOr, cLogic, "or"}, {kAnd, cLogic, "and"}, {kXor, cLogic, "xor"}, {kNot, 0, "not"},
	{kLike, cCmp, "contains like ilike glob similar sounds soundex"}, {kRlike, cCmp, "rlike regexp regexp_like"},
	{kIn, cCmp, "in"}, {kBetween, cCmp, "between"}, {kIs, cCmp, "is isnull notnull"},
	{kNull, cLit, "null"}, {kBool, cLit, "true false"},
	{kUnion, 0, "union intersect except minus"}, {kAll, 0, "all distinct distinctrow"}, {kSelect, cStmt, "select"},
	{kFrom, 0, "from"}, {kWhere, 0, "where"}, {kGroup, 0, "group"}, {kOrder, 0, "order"}, {kBy, 0, "by"},
	{kHaving, 0, "having"}, {kLimit, 0, "limit"}, {kOffset, 0, "offset"},
	{kProcedure, 0, "procedure"}, {kAnalyse, 0, "analyse analyze"}, {kInto, 0, "into"}, {kOutfile, 0, "outfile dumpfile"},
	{kInsert, cStmt, "insert replace"}, {kUpdate, cStmt, "update"}, {kDelete, cStmt | cCypher, "delete"},
	{kDrop, cStmt, "drop"}, {kAlter, cStmt, "alter"}, {kCreate, cStmt | cCypher, "create"}, {kTruncate, cStmt, "truncate"},
	{kObject, 0, "table database schema view index user function trigger login role tablespace sequence column"},
	{kValues, 0, "values"}, {kSet, cStmt | cCypher, "set"}, {kExec, cStmt, "exec execute"}, {kImmediate, 0, "immediate"},
	{kDeclare, cStmt, "declare"}, {kWaitfor, cStmt, "waitfor"}, {kDelay, 0, "delay"}, {kShutdown, cStmt, "shutdown"},
	{kGrant, cStmt, "grant revoke"}, {kCase, 0, "case"}, {kWhen, 0, "when"}, {kThen, 0, "then"}, {kIf, cFunc, "if iif iff"},
	{kExists, 0, "exists"}, {kEnd, 0, "end"}, {kBinary, 0, "binary"}, {kCollate, 0, "collate"}, {kDiv, 0, "div mod"},
	{kSleep, cFunc | cTime, "sleep"},
	{kPgSleep, cFunc | cTime, "pg_sleep pg_sleep_for pg_sleep_until receive_message randomblob zeroblob"},
	{kBenchmark, cFunc | cTime, "benchmark generate_series"},
	{kFunc, cFunc, "ascii ord substring substr mid left right length len char_length hex unhex bin md5 sha1 count version user database schema current_user session_user system_user db_name host_name user_name cast convert coalesce ifnull nvl greatest least lower upper reverse repeat group_concat string_agg listagg elt field find_in_set strcmp quarter to_char to_number row make_set bit_length octet_length current_database table_name column_name typeof sqlite_version total_changes charset coercibility connection_id utc_time current_date current_time now sysdate iff isnull"}, {kMath, cFunc, "cos sin tan sqrt power floor rand exp pi sign log ln ceil abs round"}, {kStarts, 0, "starts ends"},
	{kChar, cFunc, "char chr nchar"}, {kConcat, cFunc, "concat concat_ws"},
	{kDangerFunc, cFunc | cDanger, "load_file extractvalue updatexml name_const gtid_subset json_keys polygon multipoint geometrycollection linestring multilinestring multipolygon st_latfromgeohash xmltype query_to_xml database_to_xml lo_import lo_export lo_from_bytea pg_read_file pg_ls_dir pg_read_binary_file dblink_connect openrowset opendatasource openquery load_extension readfile sys_eval sys_exec fn_xe_file_target_read_file is_srvrolemember"},
	{kPkg, cDanger, "dbms_pipe dbms_lock dbms_java dbms_xmlgen dbms_xslprocessor dbms_utility dbms_random dbms_assert dbms_export_extension dbms_ldap utl_http utl_inaddr utl_file utl_smtp ctxsys ordsys httpuritype"},
	{kXp, cDanger, "xp_cmdshell xp_dirtree xp_fileexist xp_regread xp_regwrite xp_regdeletekey xp_subdirs xp_servicecontrol xp_availablemedia xp_enumdsn xp_loginconfig xp_makecab xp_ntsec_enumdomains xp_terminate_process xp_webserver xp_getfiledetails sp_configure sp_oacreate sp_oamethod sp_executesql sp_password sp_addlogin sp_addsrvrolemember sp_makewebtask sp_addextendedproc sp_start_job sp_help sp_who"},
	{kSys, cSys, "information_schema sysobjects syscolumns sysusers sysdatabases sys pg_catalog pg_user pg_shadow pg_tables pg_class pg_database pg_stat_activity sqlite_master sqlite_schema sqlite_temp_master all_tables all_tab_columns user_tables user_tab_columns dba_users dba_tables all_users v$version mysql master msysobjects msysaces syscat sysibm dual domain all_objects user_objects"},
	{kReturn, cStmt | cCypher, "return"}, {kMatch, cStmt | cCypher, "match"}, {kDetach, cCypher, "detach"},
	{kCall, cStmt | cCypher, "call"}, {kLoad, cStmt | cCypher, "load"}, {kCSV, 0, "csv"}, {kWith, cCypher, "with"},
	{kMerge, cStmt | cCypher, "merge"}, {kUnwind, cCypher, "unwind"}, {kForeach, cCypher, "foreach"}, {kRemove, cCypher, "remove"},
	{kApoc, 0, "apoc dbms db gds"}, {kThis, 0, "this"}, {kCopy, cStmt, "copy"}, {kProgram, 0, "program"},
	{kAttach, cStmt, "attach"}, {kBackup, cStmt, "backup vacuum begin commit rollback rename handler"}, {kVar, cStmt, "var let const"}, {kWhile, cStmt, "while do throw"},
}

const (
	wordTableSize = 2048 // four times the words, so most misses end at the first empty slot
	wordMax       = 28   // longer words are identifiers
)

type wordEntry struct {
	text  string
	hash  uint32
	id    kw
	class class
}

var (
	wordTable [wordTableSize]wordEntry
	wordLens  [1024]uint32 // by first and last byte: the lengths that occur
)

const hashSeed, hashPrime = 2166136261, 16777619

func init() {
	for _, d := range wordDefs {
		for start, i := 0, 0; i <= len(d.words); i++ {
			if i < len(d.words) && d.words[i] != ' ' {
				continue
			}
			addWord(d.words[start:i], d.id, d.class)
			start = i + 1
		}
	}
}

func addWord(w string, id kw, c class) {
	h := hashWord(w)
	wordLens[ends(w)] |= 1 << len(w)
	slot := (h ^ h>>15) % wordTableSize
	for wordTable[slot].id != kNone {
		slot = (slot + 1) % wordTableSize
	}
	wordTable[slot] = wordEntry{text: w, hash: h, id: id, class: c}
}

// ends indexes wordLens: five bits of a word's first byte and of its last.
func ends(w string) uint32 { return uint32(w[0]&31)<<5 | uint32(w[len(w)-1]&31) }

func hashWord(w string) uint32 {
	h := uint32(hashSeed)
	for i := range len(w) {
		h = (h ^ uint32(w[i]|0x20)) * hashPrime
	}
	return h
}

// lookup finds w in any case. The caller has checked wordLens.
func lookup(w string) (kw, class) {
	h := hashWord(w)
	for slot := (h ^ h>>15) % wordTableSize; ; slot = (slot + 1) % wordTableSize {
		e := &wordTable[slot]
		if e.id == kNone {
			return kNone, 0
		}
		if e.hash == h && equalFold(w, e.text) {
			return e.id, e.class
		}
	}
}

// equalFold compares w with the lower-case ASCII word low.
func equalFold(w, low string) bool {
	if len(w) != len(low) {
		return false
	}
	for i := range len(w) {
		c := w[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != low[i] {
			return false
		}
	}
	return true
}
