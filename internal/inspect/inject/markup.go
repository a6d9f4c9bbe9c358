package inject

// tagScore is how much a tag says by itself. A tag that is not here may still
// carry a handler or a scheme.
var tagScore = map[string]float64{
	"script": 0.96, "iframe": 0.95, "frame": 0.85, "frameset": 0.88, "object": 0.85, "embed": 0.9, "applet": 0.92,
	"base": 0.85, "meta": 0.85, "link": 0.8, "style": 0.82, "svg": 0.75, "math": 0.72, "xml": 0.75, "xss": 0.8,
	"layer": 0.85, "ilayer": 0.85, "bgsound": 0.85, "isindex": 0.85, "import": 0.75, "form": 0.6, "noscript": 0.6,
	"foreignobject": 0.8, "animate": 0.6, "animatetransform": 0.6, "animatemotion": 0.6, "handler": 0.75, "listener": 0.75, "set": 0.55, "use": 0.6, "portal": 0.8,
	"template": 0.55, "marquee": 0.6, "html": 0.55, "body": 0.6, "head": 0.55, "plaintext": 0.7, "xmp": 0.6, "mglyph": 0.6, "annotation-xml": 0.8,
	"vmlframe": 0.8, "event-source": 0.8, "htmlfile": 0.8, "comment": 0.6, "javascript": 0.8, "blink": 0.55, "dialog": 0.35,
	"img": 0.3, "image": 0.35, "video": 0.3, "audio": 0.3, "source": 0.2, "track": 0.2, "input": 0.35, "button": 0.3, "select": 0.25, "textarea": 0.35, "details": 0.2,
	"keygen": 0.6, "label": 0.2, "a": 0.1, "div": 0.1, "table": 0.15, "td": 0.1,
	"svg:script": 0.95, "x:script": 0.95, "xsl:stylesheet": 0.85, "xsl:template": 0.85, "html:script": 0.95,
}

// closeScore is for closing tags: they end the element the text was put into.
var closeScore = map[string]float64{
	"script": 0.9, "style": 0.75, "textarea": 0.65, "title": 0.65, "noscript": 0.7, "iframe": 0.7, "xmp": 0.7, "svg": 0.6, "math": 0.6, "template": 0.6, "noembed": 0.7, "noframes": 0.7,
}

var eventNames = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range [...]string{
		"abort", "activate", "afterprint", "afterscriptexecute", "afterupdate", "animationcancel", "animationend", "animationiteration", "animationstart", "auxclick",
		"beforeactivate", "beforecopy", "beforecut", "beforedeactivate", "beforeeditfocus", "beforeinput", "beforematch", "beforepaste", "beforeprint", "beforescriptexecute", "beforetoggle", "beforeunload", "beforeupdate", "begin", "blur", "bounce",
		"cancel", "canplay", "canplaythrough", "cellchange", "change", "click", "close", "command", "contentvisibilityautostatechange", "contextmenu", "controlselect", "copy", "cuechange", "cut",
		"dataavailable", "datasetchanged", "datasetcomplete", "dblclick", "deactivate", "drag", "dragdrop", "dragend", "dragenter", "dragexit", "dragleave", "dragover", "dragstart", "drop", "durationchange",
		"emptied", "end", "ended", "error", "errorupdate", "exit", "filterchange", "finish", "focus", "focusin", "focusout", "formdata", "fullscreenchange", "fullscreenerror",
		"gesturechange", "gestureend", "gesturestart", "gotpointercapture", "hashchange", "help", "input", "invalid", "keydown", "keypress", "keyup",
		"languagechange", "layoutcomplete", "load", "loadeddata", "loadedmetadata", "loadend", "loadstart", "losecapture", "lostpointercapture",
		"mediacomplete", "mediaerror", "message", "messageerror", "mousedown", "mouseenter", "mouseleave", "mousemove", "mouseout", "mouseover", "mouseup", "mousewheel", "move", "moveend", "movestart",
		"offline", "online", "outofsync", "pagehide", "pagereveal", "pageshow", "pageswap", "paste", "pause", "play", "playing", "pointercancel", "pointerdown", "pointerenter", "pointerleave", "pointermove", "pointerout", "pointerover", "pointerrawupdate", "pointerup", "popstate", "progress", "propertychange",
		"ratechange", "readystatechange", "rejectionhandled", "repeat", "reset", "resize", "resizeend", "resizestart", "resume", "reverse", "rowdelete", "rowenter", "rowexit", "rowinserted", "rowsenter",
		"scroll", "scrollend", "scrollsnapchange", "scrollsnapchanging", "search", "securitypolicyviolation", "seek", "seeked", "seeking", "select", "selectionchange", "selectstart", "show", "slotchange", "stalled", "start", "stop", "storage", "submit", "suspend", "syncrestored",
		"timeerror", "timeout", "timeupdate", "toggle", "touchcancel", "touchend", "touchmove", "touchstart", "trackchange", "transitioncancel", "transitionend", "transitionrun", "transitionstart",
		"unhandledrejection", "unload", "urlflip", "volumechange", "waiting", "webkitanimationend", "webkitanimationiteration", "webkitanimationstart", "webkitfullscreenchange", "webkitmouseforcechanged", "webkitmouseforcedown", "webkitmouseforceup", "webkitmouseforcewillbegin", "webkitplaybacktargetavailabilitychanged", "webkittransitionend", "webkitwillrevealbottom", "wheel", "zoom",
	} {
		m["on"+w] = true
	}
	return m
}()

// sinkScore says how often an honest value calls such a function: alert hardly
// ever, fetch in every second program.
var sinkScore = map[string]float64{
	"alert": 1, "confirm": 1, "prompt": 1, "eval": 0.95, "execscript": 1, "settimeout": 0.7, "setinterval": 0.7, "function": 0.3,
	"fetch": 0.6, "import": 0.6, "importscripts": 0.9, "write": 0.6, "writeln": 0.6, "fromcharcode": 0.8, "atob": 0.7, "unescape": 0.8,
	"constructor": 0.7, "print": 0.4, "open": 0.4, "assign": 0.4, "getscript": 0.8, "expression": 0.5, "console": 0.3, "log": 0.3, "find": 0.2, "reporterror": 0.7, "image": 0.3, "getelementbyid": 0.3, "appendchild": 0.3, "throw": 0.5,
}

// names answers at a glance, by first and last letter and length, for most words
// that a table does not have them.
type names [1024]uint64

func namesOf[V any](m map[string]V) *names {
	n := new(names)
	for w := range m {
		n[ends(w)] |= 1 << min(len(w), 63)
	}
	return n
}

func (n *names) may(w string) bool { return n[ends(w)]&(1<<min(len(w), 63)) != 0 }

var sinkNames, handlerNames, tagNames, closeNames = namesOf(sinkScore), namesOf(eventNames), namesOf(tagScore), namesOf(closeScore)

// lowered copies s in lower case into buf, at most len(buf) bytes.
func lowered(buf *[40]byte, s string) []byte {
	n := min(len(s), len(buf))
	for i := range n {
		c := s[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		buf[i] = c
	}
	return buf[:n]
}
