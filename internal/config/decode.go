package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder fills structs from the syntax tree, and goes on after a problem, which
// yaml.Decoder does not: all problems of the file are to be seen at once.
type decoder struct {
	*report
	marks   map[string]mark
	anchors map[string]ast.Node
}

// shorthand is a struct that may be written as a text, and a list of it as one item.
type shorthand interface{ short(text string) }

// scalar is a type with a form of its own.
type scalar interface{ parse(text string) error }

func at(t *token.Token) mark {
	if t == nil || t.Position == nil {
		return mark{}
	}
	return mark{line: t.Position.Line, column: t.Position.Column}
}

// unwrap looks through anchors and aliases.
func (d *decoder) unwrap(n ast.Node) ast.Node {
	for range 8 {
		switch v := n.(type) {
		case *ast.AnchorNode:
			d.anchors[v.Name.String()] = v.Value
			n = v.Value
		case *ast.AliasNode:
			to, ok := d.anchors[v.Value.String()]
			if !ok {
				d.add(at(v.GetToken()), 0, "", "nothing before this is marked &%s", v.Value)
				return nil
			}
			n = to
		case *ast.TagNode:
			d.add(at(v.GetToken()), 0, "", "tags are not used here")
			return nil
		default:
			return n
		}
	}
	return nil
}

// value decodes n into v, which is settable.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	n = d.unwrap(n)
	if n == nil {
		return
	}
	if _, ok := n.(*ast.NullNode); ok {
		return // as if the key were not there
	}
	if s, ok := v.Addr().Interface().(scalar); ok {
		if text, ok := d.text(n, path, "a text"); ok {
			if err := s.parse(text); err != nil {
				d.add(at(n.GetToken()), 0, path, "%v, have %s", err, quote(text))
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		if s, ok := v.Addr().Interface().(shorthand); ok && isText(n) {
			if text, ok := d.text(n, path, "a text"); ok {
				s.short(text)
			}
			return
		}
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.String:
		if text, ok := d.text(n, path, "a text"); ok {
			v.SetString(text)
		}
	case reflect.Int, reflect.Int64:
		if text, ok := d.text(n, path, "a whole number"); ok {
			i, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				d.add(at(n.GetToken()), 0, path, "want a whole number, have %s", quote(text))
				return
			}
			v.SetInt(i)
		}
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.add(at(n.GetToken()), 0, path, "want true or false, have %s", kind(n))
			return
		}
		v.SetBool(b.Value)
	default:
		d.add(at(n.GetToken()), 0, path, "cannot be set") // a field of Config that decode does not know
	}
}

// text returns a scalar as it is written: a camera may well be called 101.
func (d *decoder) text(n ast.Node, path, want string) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(v.Value.Value), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	d.add(at(n.GetToken()), 0, path, "want %s, have %s", want, kind(n))
	return "", false
}

func isText(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode, *ast.BoolNode:
		return false
	}
	return true
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return n.GetToken().Value + " (quote it if that is the text)"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	}
	return "something else"
}

func (d *decoder) list(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if _, one := reflect.New(v.Type().Elem()).Interface().(shorthand); one && !ok {
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		p := path + "[0]"
		d.marks[p] = at(n.GetToken())
		d.value(n, v.Index(0), p)
		return
	}
	if !ok {
		d.add(at(n.GetToken()), 0, path, "want a list (lines that begin with -), have %s", kind(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		p := fmt.Sprintf("%s[%d]", path, i)
		d.marks[p] = at(item.GetToken())
		if m, ok := item.(*ast.MappingNode); ok && len(m.Values) > 0 {
			d.marks[p] = at(m.Values[0].Key.GetToken())
		}
		d.value(item, v.Index(i), p)
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		d.add(at(n.GetToken()), 0, path, "want keys and values, have %s", kind(n))
		return
	}
	fields, names := keys(v.Type())
	seen := make(map[string]bool, len(values))
	for _, kv := range values {
		tok := kv.Key.GetToken()
		name := tok.Value
		where := at(tok)
		field, ok := fields[name]
		if !ok || kv.Key.IsMergeKey() {
			// What follows the key may be a secret under a misspelt name.
			upto := where.column + len(tok.Origin)
			in := ""
			if path != "" {
				in = " in " + path
			}
			d.add(where, upto, "", "unknown key %s%s%s", quote(name), in, suggest(name, names))
			continue
		}
		p := name
		if path != "" {
			p = path + "." + name
		}
		if seen[name] {
			d.add(where, where.column+len(tok.Origin), p, "given twice, first in line %d", d.marks[p].line)
			continue
		}
		seen[name] = true
		d.marks[p] = where
		d.value(kv.Value, v.Field(field), p)
	}
}

// keys returns the fields of a struct by the key in the file, and the keys.
func keys(t reflect.Type) (fields map[string]int, names []string) {
	fields = make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			fields[name] = i
			names = append(names, name)
		}
	}
	return fields, names
}

// quote keeps a message to one line of bearable length.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}
