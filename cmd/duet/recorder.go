package main

import (
	"time"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/gcpace"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/recorder"
)

type recorderCmd struct{ nodeFlags }

// Run runs the recorder until it is told to end.
func (c *recorderCmd) Run(a *app) error {
	env, err := c.prepare(a, "recorders", func(cfg *config.Config) bool { return cfg.FindRecorder(c.Name) != nil })
	if err != nil {
		return err
	}
	stop, err := serveProfiles(a.ctx, c.Pprof)
	if err != nil {
		return err
	}
	defer stop()
	r := env.site.FindRecorder(c.Name)
	l, err := listen(a.ctx, "http", r.HTTP)
	if err != nil {
		return err
	}
	defer l.Close()
	o := recorder.Options{
		Name: r.Name, Role: r.Role, Zone: r.Zone, Version: versionText(),
		SyncInterval: time.Duration(env.site.Sync.Interval),
		Scrub:        recorder.Scrub{Off: env.site.Scrub.Off, Rate: int64(env.site.Scrub.Rate), Every: time.Duration(env.site.Scrub.Every)},
		Listener:     l,
		ServerTLS:    env.creds.ServerConfig(),
		ClientTLS:    env.creds.ClientConfig(""),
		Log:          env.log,
		Repair: recorder.Repair{
			Off: env.site.Repair.Order == "off", OldestFirst: env.site.Repair.Order == "oldest", Rate: int64(env.site.Repair.Rate),
		},
		Registry: env.reg,
	}
	dirs := make([]string, 0, len(r.Data))
	for _, d := range r.Data {
		dirs = append(dirs, d.Path)
		o.Volumes = append(o.Volumes, recorder.Volume{Dir: d.Path, Quota: int64(d.Quota), MinFree: int64(r.MinFree), Mounted: d.Mounted})
	}
	for _, p := range env.site.Proxies {
		o.Proxies = append(o.Proxies, recorder.Proxy{Name: p.Name, Address: p.Link.Dial()})
	}
	for _, peer := range env.site.Recorders {
		if peer.Name != r.Name {
			o.Peers = append(o.Peers, recorder.Peer{Name: peer.Name, Address: peer.HTTP.Dial()})
		}
	}
	for i := range env.site.Cameras {
		cam := &env.site.Cameras[i]
		role := ""
		switch pair := env.site.plan.Cameras[cam.Name]; r.Name {
		case pair.Primary:
			role = "primary"
		case pair.Redundant:
			role = "redundant"
		default:
			continue
		}
		keep := env.site.RetentionOf(cam)
		o.Cameras = append(o.Cameras, recorder.Camera{
			Name: cam.Name, Role: role, Proxies: proxiesOf(cam), Spare: role == "redundant" && cam.Copies == "spare",
			Retention: recorder.Retention{Age: time.Duration(keep.Age), Bytes: int64(keep.Bytes)},
		})
	}
	rec, err := recorder.New(o)
	if err != nil {
		return err
	}
	go gcpace.Follow(a.ctx, media.HeldBytes)
	env.log.Info().Int("cameras", len(o.Cameras)).Strs("data", dirs).Stringer("http", l.Addr()).Msg("recorder runs")
	return rec.Run(a.ctx)
}
