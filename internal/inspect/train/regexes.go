package main

import "regexp"

// regexes are the yardstick: twenty-four patterns of the kind most gateways
// ship, over five families. They are here to be beaten, not used.
var regexes = func() []*regexp.Regexp {
	var out []*regexp.Regexp
	for _, p := range []string{
		// role manipulation
		`you\s+are\s+now\s+(a|an|the)?\s*\w+`,
		`act\s+as\s+(if\s+you\s+(are|were)|a|an)\s+(unrestricted|evil|hacker|root|admin)`,
		`pretend\s+(to\s+be|you\s+are)\s+(a|an)?\s*(unrestricted|evil|different\s+ai)`,
		`from\s+now\s+on\s+you\s+(are|will)`,
		`(assume|take\s+on)\s+the\s+(role|identity|persona)\s+of\s+(an?\s+)?(unrestricted|evil|admin)`,
		// instruction override
		`ignore\s+(all\s+)?(the\s+)?(previous|prior|above)\s+(instructions?|prompts?|rules?)`,
		`disregard\s+(all\s+)?(the\s+)?(previous|prior|above|your)\s+(instructions?|prompts?|rules?|guidelines?)`,
		`forget\s+(everything|all|your)\s+(instructions?|rules?|you\s+were\s+told|above)`,
		`override\s+(your|the|all)\s+(instructions?|rules?|system|safety)`,
		`new\s+instructions?\s*:`,
		`do\s+not\s+follow\s+(your|the)\s+(previous|original)\s+instructions?`,
		// system prompt extraction
		`(show|reveal|print|display|output|repeat)\s+(me\s+)?(your|the)\s+(system|initial|original|hidden)\s+(prompt|instructions?|message)`,
		`what\s+(is|are|were)\s+your\s+(system\s+prompt|initial\s+instructions?|instructions?)`,
		`repeat\s+(everything|the\s+(words|text))\s+above`,
		`(tell|give)\s+me\s+your\s+(system\s+)?(prompt|instructions)`,
		// jailbreak
		`\bDAN\b.{0,40}(do\s+anything|mode|now)`,
		`do\s+anything\s+now`,
		`(developer|god|sudo|debug|admin)\s+mode(\s+(on|enabled|activated))?`,
		`jail\s*break`,
		`(without|no)\s+(any\s+)?(restrictions?|limitations?|filters?|ethical\s+guidelines?)`,
		// data exfiltration
		`(send|post|upload|forward)\s+.{0,40}(to\s+)?https?://`,
		`(reveal|show|give|list|dump)\s+.{0,20}(passwords?|api\s*keys?|credentials|secrets?)`,
		`(exfiltrate|leak)\s+.{0,30}(data|information|secrets?)`,
		`(read|cat|print)\s+.{0,20}(/etc/passwd|\.env\b|id_rsa)`,
	} {
		out = append(out, regexp.MustCompile(`(?i)`+p))
	}
	return out
}()

func regexHit(s string) bool {
	for _, r := range regexes {
		if r.MatchString(s) {
			return true
		}
	}
	return false
}
