package camsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// ControlURL returns the base URL of the control API; empty: there is none.
func (s *Sim) ControlURL() string {
	if s.addr == "" {
		return ""
	}
	return "http://" + s.addr
}

func (s *Sim) serveControl(o *Options) error {
	if o.Control == "" {
		return nil
	}
	l, err := net.Listen("tcp", o.Control)
	if err != nil {
		return fmt.Errorf("serve the control API: %w", err)
	}
	s.addr = l.Addr().String()
	s.control = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	s.group.Go(func() error {
		if err := s.control.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the control API: %w", err)
		}
		return nil
	})
	return nil
}

// Handler returns the HTTP API that switches pathologies:
//
//	GET  /cameras                              names, URLs, ledgers
//	POST /cameras/{name}/drop?for=500ms        close connections, refuse new ones
//	POST /cameras/{name}/reset?for=500ms       the same, with a RST in the middle of a packet
//	POST /cameras/{name}/stall?for=5s          send nothing
//	POST /cameras/{name}/jump?by=-10s          RTP timestamps
//	POST /cameras/{name}/drift?by=0.1          RTP timestamps, 10 % fast
//	POST /cameras/{name}/sequence              RTP sequence numbers begin anew
//	POST /cameras/{name}/params                other parameter sets
//	POST /cameras/{name}/reports?as=none       see Reports; as= for right ones
//	POST /cameras/{name}/loss?p=0.01           packets withheld
//
// It answers 204, or 400 and 404 with a line of text.
func (s *Sim) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cameras", func(w http.ResponseWriter, _ *http.Request) {
		type camera struct {
			Name   string `json:"name"`
			URL    string `json:"url"`
			Ledger string `json:"ledger,omitempty"`
		}
		list := make([]camera, len(s.cameras))
		for i, c := range s.cameras {
			list[i] = camera{c.Name, c.URL, c.Ledger}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list) // the client has gone
	})
	mux.HandleFunc("POST /cameras/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		c := s.Camera(r.PathValue("name"))
		if c == nil {
			http.Error(w, fmt.Sprintf("no camera %q", r.PathValue("name")), http.StatusNotFound)
			return
		}
		if err := c.do(r.PathValue("action"), r.URL.Query().Get); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func (c *Camera) do(action string, arg func(string) string) error {
	switch action {
	case "drop", "reset", "stall":
		d, err := time.ParseDuration(arg("for"))
		if err != nil || d < 0 {
			return fmt.Errorf("for=%q: want a duration like 500ms", arg("for"))
		}
		switch action {
		case "drop":
			c.Drop(d)
		case "reset":
			c.Reset(d)
		default:
			c.Stall(d)
		}
	case "jump":
		d, err := time.ParseDuration(arg("by"))
		if err != nil {
			return fmt.Errorf("by=%q: want a duration like -10s", arg("by"))
		}
		c.Jump(d)
	case "drift":
		f, err := strconv.ParseFloat(arg("by"), 64)
		if err != nil || f <= -1 || f > 1 {
			return fmt.Errorf("by=%q: want a number in -1 … 1", arg("by"))
		}
		c.SetDrift(f)
	case "sequence":
		c.ResetSequence()
	case "params":
		return c.ChangeParameters()
	case "reports":
		return c.SetReports(Reports(arg("as")))
	case "loss":
		p, err := strconv.ParseFloat(arg("p"), 64)
		if err != nil || p < 0 || p > 1 {
			return fmt.Errorf("p=%q: want a number in 0 … 1", arg("p"))
		}
		c.SetLoss(p)
	default:
		return fmt.Errorf("action %q is not known", action)
	}
	return nil
}
