// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// differences lists where actual is not as expected. Fields that expected does not name may be anything; `*` is anything but empty.
func differences(path string, expected, actual any) []string {
	switch expected := expected.(type) {
	case map[string]any:
		fields, _ := actual.(map[string]any)
		var found []string
		for key, value := range expected {
			found = append(found, differences(path+"."+key, value, fields[key])...)
		}
		return found
	case []any:
		items, _ := actual.([]any)
		if len(items) != len(expected) {
			return []string{fmt.Sprintf("%s: expected %d items, got %v", path, len(expected), actual)}
		}
		var found []string
		for i, value := range expected {
			found = append(found, differences(fmt.Sprintf("%s.%d", path, i), value, items[i])...)
		}
		return found
	case string:
		if expected == "*" && !empty(actual) {
			return nil
		}
	}
	if reflect.DeepEqual(expected, actual) || expected == nil && empty(actual) {
		return nil
	}
	return []string{fmt.Sprintf("%s: expected %v, got %v", path, expected, actual)}
}

// empty says whether a JSON value is the default of its field.
func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return value == "" || value == "0" || value == 0.0 || value == false
}

// at is the value that a path of keys and indices leads to.
func at(value any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch holder := value.(type) {
		case map[string]any:
			value = holder[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(holder) {
				return nil
			}
			value = holder[i]
		default:
			return nil
		}
	}
	return value
}

// filled replaces ${name} in all strings of a JSON value.
func filled(value any, variables map[string]string) any {
	switch value := value.(type) {
	case string:
		for name, text := range variables {
			value = strings.ReplaceAll(value, "${"+name+"}", text)
		}
		return value
	case []any:
		items := make([]any, len(value))
		for i, item := range value {
			items[i] = filled(item, variables)
		}
		return items
	case map[string]any:
		fields := make(map[string]any, len(value))
		for key, item := range value {
			fields[key] = filled(item, variables)
		}
		return fields
	}
	return value
}
