package config

import (
	"path/filepath"
	"time"
)

// Config is the file. Example documents each key. A loaded Config has all defaults
// filled in; it is not modified after Expand, and may then be read concurrently.
type Config struct {
	Cameras   []Camera   `yaml:"cameras" validate:"required,min=1,dive"`
	Proxies   []Proxy    `yaml:"proxies" validate:"required,min=1,dive"`
	Recorders []Recorder `yaml:"recorders" validate:"required,min=2,max=64,dive"`
	Playback  []Playback `yaml:"playback" validate:"dive"`
	Retention Retention  `yaml:"retention"`
	Log       Log        `yaml:"log"`
	Link      Link       `yaml:"link"`
	Fragment  Fragment   `yaml:"fragment"`
	Segment   Segment    `yaml:"segment"`
	Sync      Sync       `yaml:"sync"`
	Repair    Repair     `yaml:"repair"`
	Scrub     Scrub      `yaml:"scrub"`
	TLS       TLS        `yaml:"tls"`
	Readers   []Reader   `yaml:"readers" validate:"dive"`

	file  *source
	marks map[string]mark // where each key is, by its path
}

// Camera is an RTSP source.
type Camera struct {
	Name      string     `yaml:"name" validate:"required,name"`
	Source    CameraURL  `yaml:"source" validate:"required"`
	Transport string     `yaml:"transport" validate:"oneof=tcp udp auto"`
	Clock     string     `yaml:"clock" validate:"oneof=arrival rtcp"`
	Copies    string     `yaml:"copies" validate:"oneof=dual spare"`
	Proxy     string     `yaml:"proxy" validate:"omitempty,name"`
	Primary   string     `yaml:"primary" validate:"omitempty,name"`
	Redundant string     `yaml:"redundant" validate:"omitempty,name"`
	Bitrate   Bitrate    `yaml:"bitrate" validate:"min=0"`
	Retention *Retention `yaml:"retention"`
}

// Proxy pulls cameras.
type Proxy struct {
	Name string  `yaml:"name" validate:"required,name"`
	Link Address `yaml:"link" validate:"required,address"`
	RTSP Address `yaml:"rtsp" validate:"required,address"`
	HTTP Address `yaml:"http" validate:"required,address"`
	// UDP is the first (even) of the two ports that RTP and RTCP are sent from; 0: any.
	UDP int `yaml:"udp" validate:"min=0,max=65534"`
}

// Recorder keeps cameras on one or more disks.
type Recorder struct {
	Name     string  `yaml:"name" validate:"required,name"`
	Role     string  `yaml:"role" validate:"required,oneof=primary redundant"`
	Zone     string  `yaml:"zone" validate:"omitempty,name"`
	HTTP     Address `yaml:"http" validate:"required,address"`
	Data     []Disk  `yaml:"data" validate:"required,min=1,max=64,dive"`
	Quota    Bytes   `yaml:"quota" validate:"min=0"`
	Capacity Bitrate `yaml:"capacity" validate:"min=0"`
	MinFree  Bytes   `yaml:"min_free" validate:"min=0"`
}

// Disk is a data directory. In the file it may be just the path, and a list of one just
// its item.
type Disk struct {
	Path string `yaml:"path" validate:"required"`
	// Quota is what may be stored there; 0: its share of the recorder's.
	Quota Bytes `yaml:"quota" validate:"min=0"`
	// Mounted: nothing is stored unless a disk is mounted at the path.
	Mounted bool `yaml:"mounted"`
}

func (d *Disk) short(text string) { d.Path = text }

// Playback answers clients.
type Playback struct {
	Name string  `yaml:"name" validate:"required,name"`
	HTTP Address `yaml:"http" validate:"required,address"`
	// RTSP is where recordings are served over RTSP; empty: they are not.
	RTSP Address `yaml:"rtsp" validate:"omitempty,address"`
	// UDP is the first (even) of the two ports that RTP and RTCP are sent from; 0: any.
	UDP int `yaml:"udp" validate:"min=0,max=65534"`
}

// Retention says how much is kept of each camera; zero: no limit of that kind.
type Retention struct {
	Age   Duration `yaml:"age" validate:"min=0"`
	Bytes Bytes    `yaml:"bytes" validate:"min=0"`
}

// Log bounds the proxy's window.
type Log struct {
	Seconds int   `yaml:"seconds" validate:"min=2,max=3600"`
	Bytes   Bytes `yaml:"bytes" validate:"min=1048576"`
	Total   Bytes `yaml:"total" validate:"min=1048576"`
}

// Link is the way from proxies to recorders.
type Link struct {
	Linger Duration `yaml:"linger" validate:"min=0"`
}

// Fragment says where the proxy cuts.
type Fragment struct {
	Min Duration `yaml:"min"`
	Max Duration `yaml:"max"`
}

// Segment says how long files are.
type Segment struct {
	Duration Duration `yaml:"duration"`
}

// Sync says how often recorders make durable what they wrote.
type Sync struct {
	Interval Duration `yaml:"interval"`
}

// Repair says how a recorder copies what it lacks from others.
type Repair struct {
	// Rate is in bytes per second.
	Rate  Bytes  `yaml:"rate"`
	Order string `yaml:"order" validate:"oneof=newest oldest off"`
}

// Scrub says how recorders re-read what they hold.
type Scrub struct {
	Off   bool     `yaml:"off"`
	Rate  ByteRate `yaml:"rate"`
	Every Duration `yaml:"every"`
}

// TLS is where certificates are.
type TLS struct {
	Dir string `yaml:"dir" validate:"required"`
}

// Reader may read the RTSP endpoints. When there are any, others may not.
type Reader struct {
	User     string `yaml:"user" validate:"required"`
	Password Secret `yaml:"password" validate:"required"`
}

// The defaults, and the bounds that are checked.
const (
	defaultLogSeconds      = 20
	defaultLogBytes        = 64 << 20
	defaultLogTotal        = 2 << 30
	defaultLinger          = 10 * time.Millisecond
	maxLinger              = time.Second
	defaultFragmentMin     = time.Second
	defaultFragmentMax     = 10 * time.Second
	minFragment            = 100 * time.Millisecond
	maxFragment            = time.Minute
	defaultSegmentDuration = 10 * time.Minute
	maxSegmentDuration     = 24 * time.Hour
	defaultSyncInterval    = time.Second
	minSyncInterval        = 10 * time.Millisecond
	maxSyncInterval        = time.Minute
	defaultTLSDir          = "tls"
	defaultRepairRate      = 32 << 20
	minRepairRate          = 64 << 10
	defaultRepairOrder     = "newest"
	defaultScrubRate       = 8_000_000
	defaultScrubEvery      = 30 * 24 * time.Hour
	minScrubEvery          = time.Minute
	maxScrubEvery          = 10 * 366 * 24 * time.Hour
)

func defaults() *Config {
	return &Config{
		Log:      Log{Seconds: defaultLogSeconds, Bytes: defaultLogBytes, Total: defaultLogTotal},
		Link:     Link{Linger: Duration(defaultLinger)},
		Fragment: Fragment{Min: Duration(defaultFragmentMin), Max: Duration(defaultFragmentMax)},
		Segment:  Segment{Duration: Duration(defaultSegmentDuration)},
		Sync:     Sync{Interval: Duration(defaultSyncInterval)},
		Repair:   Repair{Rate: defaultRepairRate, Order: defaultRepairOrder},
		Scrub:    Scrub{Rate: defaultScrubRate, Every: Duration(defaultScrubEvery)},
		TLS:      TLS{Dir: defaultTLSDir},
	}
}

// complete fills in what depends on other keys. Paths are relative to the file.
func (c *Config) complete() {
	dir, err := filepath.Abs(filepath.Dir(c.file.name))
	if err != nil { // the working directory is gone: as good as can be had
		dir = filepath.Dir(c.file.name)
	}
	rel := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	rel(&c.TLS.Dir)
	for i := range c.Recorders {
		c.Recorders[i].completeDisks(rel)
	}
	for i := range c.Cameras {
		cam := &c.Cameras[i]
		set := func(s *string, to string) {
			if *s == "" {
				*s = to
			}
		}
		set(&cam.Transport, "tcp")
		set(&cam.Clock, "arrival")
		set(&cam.Copies, "dual")
		if len(c.Proxies) == 1 {
			set(&cam.Proxy, c.Proxies[0].Name)
		}
	}
}

// completeDisks divides the recorder's quota among the disks that have none.
func (r *Recorder) completeDisks(rel func(*string)) {
	n := Bytes(0)
	rest := r.Quota
	for i := range r.Data {
		rel(&r.Data[i].Path)
		rest -= r.Data[i].Quota
		if r.Data[i].Quota == 0 {
			n++
		}
	}
	for i := range r.Data {
		if r.Data[i].Quota == 0 && r.Quota > 0 {
			r.Data[i].Quota = max(rest/n, 1)
		}
	}
}

// RetentionOf returns the retention of a camera: its own, with the site's where it says nothing.
func (c *Config) RetentionOf(cam *Camera) Retention {
	r := c.Retention
	if cam.Retention != nil {
		if cam.Retention.Age != 0 {
			r.Age = cam.Retention.Age
		}
		if cam.Retention.Bytes != 0 {
			r.Bytes = cam.Retention.Bytes
		}
	}
	return r
}

// FindProxy returns the proxy of that name, or nil.
func (c *Config) FindProxy(name string) *Proxy {
	return find(c.Proxies, name, func(p *Proxy) string { return p.Name })
}

// FindRecorder returns the recorder of that name, or nil.
func (c *Config) FindRecorder(name string) *Recorder {
	return find(c.Recorders, name, func(r *Recorder) string { return r.Name })
}

// FindPlayback returns the playback node of that name, or nil.
func (c *Config) FindPlayback(name string) *Playback {
	return find(c.Playback, name, func(p *Playback) string { return p.Name })
}

func find[T any](all []T, name string, of func(*T) string) *T {
	for i := range all {
		if of(&all[i]) == name {
			return &all[i]
		}
	}
	return nil
}
