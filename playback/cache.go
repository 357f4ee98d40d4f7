package playback

import (
	"container/list"
	"sync"
)

// cache keeps the values that were used last, bounded by bytes. Safe for concurrent use.
// Values are shared and must not be modified.
type cache[K comparable, V any] struct {
	max int64

	mu    sync.Mutex
	bytes int64
	items map[K]*list.Element
	used  *list.List // of *cached[K, V], most recent first
}

type cached[K comparable, V any] struct {
	key   K
	value V
	bytes int64
}

func newCache[K comparable, V any](maxBytes int64) *cache[K, V] {
	return &cache[K, V]{max: maxBytes, items: make(map[K]*list.Element), used: list.New()}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[k]
	if e == nil {
		var none V
		return none, false
	}
	c.used.MoveToFront(e)
	return e.Value.(*cached[K, V]).value, true
}

// put keeps v, which counts as so many bytes. A value over an eighth of the cache is not kept.
func (c *cache[K, V]) put(k K, v V, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes > c.max/8 || c.items[k] != nil {
		return
	}
	c.items[k] = c.used.PushFront(&cached[K, V]{k, v, bytes})
	c.bytes += bytes
	for c.bytes > c.max {
		old := c.used.Remove(c.used.Back()).(*cached[K, V])
		delete(c.items, old.key)
		c.bytes -= old.bytes
	}
}

// replace is put, in the place of a value that is there.
func (c *cache[K, V]) replace(k K, v V, bytes int64) {
	c.mu.Lock()
	if e := c.items[k]; e != nil {
		old := c.used.Remove(e).(*cached[K, V])
		delete(c.items, k)
		c.bytes -= old.bytes
	}
	c.mu.Unlock()
	c.put(k, v, bytes)
}
