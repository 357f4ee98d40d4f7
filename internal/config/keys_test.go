package config

import "reflect"

// allKeys lists every key of the file.
func allKeys(c *Config) []string {
	seen := map[string]bool{}
	var keys []string
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				if k := t.Field(i).Tag.Get("yaml"); k != "" && !seen[k] {
					seen[k] = true
					keys = append(keys, k)
				}
				if t.Field(i).Tag.Get("yaml") != "" {
					walk(t.Field(i).Type)
				}
			}
		}
	}
	walk(reflect.TypeOf(*c))
	return keys
}
