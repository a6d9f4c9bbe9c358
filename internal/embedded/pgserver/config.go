package pgserver

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"
)

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// Config describes one server. Data and Binaries are required.
type Config struct {
	// Data is the folder for this server alone. It is made when missing.
	Data string
	// Binaries come from Find or Install.
	Binaries Binaries
	// MaxConnections defaults to 100.
	MaxConnections int
	// SharedBuffers is in PostgreSQL's notation and defaults to 96MB.
	SharedBuffers string
	// Settings are further server settings by name. What durability or
	// privacy rests on cannot be set here.
	Settings map[string]string
	// Fallback is where the cluster goes when Data cannot be entered by the
	// account that root drops to. It defaults to /var/lib/openclaw.
	Fallback string
	// StartTimeout bounds a start, crash recovery included; 60 s by default.
	StartTimeout time.Duration
	// StopTimeout bounds a fast shutdown; 20 s by default.
	StopTimeout time.Duration
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// contract lists the settings that callers may not touch.
func (c Config) contract(socket string) map[string]string {
	return map[string]string{
		"listen_addresses":                  "",
		"unix_socket_directories":           socket,
		"unix_socket_permissions":           "0700",
		"port":                              "5432",
		"fsync":                             "on",
		"full_page_writes":                  "on",
		"synchronous_commit":                "on",
		"wal_level":                         "replica",
		"max_connections":                   strconv.Itoa(c.MaxConnections),
		"shared_buffers":                    c.SharedBuffers,
		"logging_collector":                 "off",
		"log_destination":                   "stderr",
		"log_min_error_statement":           "panic", // statements and
		"log_error_verbosity":               "terse", // the details of errors may hold tenants' text
		"log_parameter_max_length":          "0",
		"log_parameter_max_length_on_error": "0",
	}
}

func (c Config) args(cluster, socket string) []string {
	settings := map[string]string{
		"cluster_name":     "openclaw",
		"jit":              "off", // short statements: compiling costs more than it gains
		"timezone":         "UTC",
		"log_timezone":     "UTC",
		"log_line_prefix":  "%m [%p] ",
		"log_min_messages": "warning",
		"log_checkpoints":  "off",
	}
	maps.Copy(settings, c.Settings)
	maps.Copy(settings, c.contract(socket))
	args := []string{"-D", cluster}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

func (c Config) withDefaults() (Config, error) {
	if c.Data == "" || c.Binaries.Dir == "" {
		return c, errors.New("starting postgres: a data folder and binaries are required")
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 100
	}
	if c.SharedBuffers == "" {
		c.SharedBuffers = "96MB"
	}
	if c.Fallback == "" {
		c.Fallback = sharedState
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = time.Minute
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 20 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	contract := c.contract("")
	for name := range c.Settings {
		// PostgreSQL also takes capitals and dashes, which would hide a name.
		if !settingName.MatchString(name) {
			return c, fmt.Errorf("starting postgres: %q is not a setting's name in small letters", name)
		}
		if _, ok := contract[name]; ok {
			return c, fmt.Errorf("starting postgres: setting %s is not the caller's", name)
		}
	}
	return c, nil
}
