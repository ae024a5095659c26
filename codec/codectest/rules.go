package codectest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
)

var rules = []rule{
	{Rule{"names", "Name and ContentType are constant, not empty, in lower case and without blanks."}, checkNames},
	{Rule{"round-trip", "What Append writes Unmarshal reads back as an equal value."}, checkRoundTrip},
	{Rule{"append-prefix", "Append keeps the first len(dst) bytes and writes behind them, whatever the capacity."}, checkAppendPrefix},
	{Rule{"append-value", "Append does not change the value that it encodes."}, checkAppendValue},
	{Rule{"append-keeps", "Append keeps nothing of dst or of the value."}, checkAppendKeeps},
	{Rule{"append-error", "A value that can't be encoded is an error, and dst is returned as it was."}, checkAppendError},
	{Rule{"unmarshal-copies", "Unmarshal copies what it keeps: data is the caller's again when it returns."}, checkUnmarshalCopies},
	{Rule{"unmarshal-data", "Unmarshal does not change data."}, checkUnmarshalData},
	{Rule{"trailing", "What is behind the value is an error."}, checkTrailing},
	{Rule{"target", "A target that is no pointer, or nil, is an error and no panic."}, checkTarget},
	{Rule{"hostile", "Unmarshal never panics, whatever the bytes."}, checkHostile},
	{Rule{"nesting", "Nesting is bounded: lists 100,000 deep are an error."}, checkNesting},
	{Rule{"huge", "An announced length allocates nothing before the data is there."}, checkHuge},
	{Rule{"concurrent", "A codec is safe for concurrent use."}, checkConcurrent},
}

// large is the size in bytes from where on an encoding is left out of what is done
// many times over.
const large = 4096

func checkNames(k *kit) error {
	for _, f := range []struct {
		method string
		call   func() string
	}{{"Name", k.codec.Name}, {"ContentType", k.codec.ContentType}} {
		s := f.call()
		switch {
		case s == "":
			return fmt.Errorf("%s is empty", f.method)
		case s != strings.ToLower(s):
			return fmt.Errorf("%s %q is not in lower case", f.method, s)
		case strings.ContainsAny(s, " \t\r\n"):
			return fmt.Errorf("%s %q has a blank", f.method, s)
		}
		for range 3 {
			if again := f.call(); again != s {
				return fmt.Errorf("%s was %q, then %q", f.method, s, again)
			}
		}
	}
	if ct := k.codec.ContentType(); !strings.Contains(ct, "/") {
		return fmt.Errorf("ContentType %q is no media type", ct)
	}
	return nil
}

func checkRoundTrip(k *kit) error {
	for _, v := range k.Values() {
		data, err := k.encode(v)
		if err != nil {
			return err
		}
		if err := k.decode(data, v); err != nil {
			return err
		}
	}
	return nil
}

func checkAppendPrefix(k *kit) error {
	for _, v := range k.Values() {
		data, err := k.encode(v)
		if err != nil {
			return err
		}
		rooms := []int{0, 1, len(data) / 2, len(data), len(data) + 64}
		if len(data) > large {
			rooms = rooms[1:2]
		}
		for _, room := range rooms {
			const prefix = "prefix"
			dst := append(make([]byte, 0, len(prefix)+room), prefix...)
			got, err := k.codec.Append(dst, v)
			if err != nil {
				return fmt.Errorf("Append with room for %d bytes: %w", room, err)
			}
			if string(dst) != prefix {
				return fmt.Errorf("dst was changed to %q", dst)
			}
			if !bytes.HasPrefix(got, []byte(prefix)) {
				return fmt.Errorf("the result with room for %d bytes begins with %q, not with %q", room, short(got), prefix)
			}
			if err := k.decode(got[len(prefix):], v); err != nil {
				return fmt.Errorf("with room for %d bytes: %w", room, err)
			}
		}
	}
	return nil
}

func checkAppendValue(k *kit) error {
	want := k.Values()
	for i, v := range k.Values() {
		if _, err := k.encode(v); err != nil {
			return err
		}
		if !reflect.DeepEqual(v, want[i]) {
			return fmt.Errorf("%s became %s", show(want[i]), show(v))
		}
	}
	return nil
}

func checkAppendKeeps(k *kit) error {
	// The results of all values stand side by side; the bytes that each was appended
	// to are overwritten, and so are the bytes in the values.
	want := k.Values()
	kept := make([][]byte, len(want))
	for i, v := range k.Values() {
		got, err := k.codec.Append(nil, v)
		if err != nil {
			return fmt.Errorf("Append(%s): %w", show(v), err)
		}
		kept[i] = got
		if b, ok := v.([]byte); ok {
			scribble(b)
		}
		if r, ok := v.(Record); ok {
			scribble(r.Bytes)
		}
		again, err := k.codec.Append(make([]byte, 0, 2*len(got)+16), want[i])
		if err != nil {
			return fmt.Errorf("Append(%s): %w", show(want[i]), err)
		}
		scribble(again[:cap(again)])
	}
	for i, data := range kept {
		if err := k.decode(data, want[i]); err != nil {
			return fmt.Errorf("after the value and other results were overwritten: %w", err)
		}
		data, err := k.encode(want[i])
		if err != nil {
			return err
		}
		if err := k.decode(data, want[i]); err != nil {
			return fmt.Errorf("after an earlier result was overwritten: %w", err)
		}
	}
	return nil
}

func checkAppendError(k *kit) error {
	for _, v := range k.Unencodable {
		for _, room := range []int{0, 1 << 12} {
			const prefix = "prefix"
			dst := append(make([]byte, 0, len(prefix)+room), prefix...)
			var got []byte
			var err error
			if p := guard(func() error { got, err = k.codec.Append(dst, v); return nil }); p != nil {
				return fmt.Errorf("Append(%T): %w", v, p)
			}
			if err == nil {
				return fmt.Errorf("Append(%T) wrote %q and no error", v, short(got))
			}
			if string(got) != prefix || string(dst) != prefix {
				return fmt.Errorf("Append(%T) failed and returned %q, not %q", v, short(got), prefix)
			}
		}
	}
	return nil
}

func checkUnmarshalCopies(k *kit) error {
	for _, v := range k.Values() {
		data, err := k.encode(v)
		if err != nil {
			return err
		}
		got := target(v)
		if err := k.codec.Unmarshal(data, got); err != nil {
			return fmt.Errorf("Unmarshal into %T: %w", got, err)
		}
		scribble(data)
		if err := k.same(v, reflect.ValueOf(got).Elem().Interface()); err != nil {
			return fmt.Errorf("after data was overwritten: %w", err)
		}
	}
	return nil
}

func checkUnmarshalData(k *kit) error {
	for _, v := range k.Values() {
		data, err := k.encode(v)
		if err != nil {
			return err
		}
		before := bytes.Clone(data)
		if err := k.codec.Unmarshal(data, target(v)); err != nil {
			return fmt.Errorf("Unmarshal into %T: %w", v, err)
		}
		if !bytes.Equal(data, before) {
			return fmt.Errorf("data was %q and is %q", short(before), short(data))
		}
	}
	return nil
}

func checkTrailing(k *kit) error {
	v, data, err := k.first()
	if err != nil {
		return err
	}
	for _, tail := range [][]byte{data, data[:1], {0x01}, {'x'}, {0xc1}, []byte(" 1")} {
		whole := append(bytes.Clone(data), tail...)
		if err := k.codec.Unmarshal(whole, target(v)); err == nil {
			return fmt.Errorf("%q behind the value is no error", short(tail))
		}
	}
	return nil
}

func checkTarget(k *kit) error {
	v, data, err := k.first()
	if err != nil {
		return err
	}
	for _, to := range []any{nil, v, "", 0, map[string]any{}, []any{}, struct{}{}, (*int)(nil), (*any)(nil), (*Record)(nil)} {
		if to != nil && reflect.TypeOf(to).Kind() == reflect.Pointer && !reflect.ValueOf(to).IsNil() {
			continue // the first value is a pointer itself
		}
		err := errors.New("none")
		if p := guard(func() error { err = k.codec.Unmarshal(data, to); return nil }); p != nil {
			return fmt.Errorf("Unmarshal into a %T: %w", to, p)
		}
		if err == nil {
			return fmt.Errorf("Unmarshal into a %T that is no pointer, or nil, is no error", to)
		}
	}
	return nil
}

func checkHostile(k *kit) error {
	vs := k.Values()
	try := func(data []byte, v any) error {
		for _, to := range []any{target(v), new(any)} {
			err := guard(func() error { _ = k.codec.Unmarshal(bytes.Clone(data), to); return nil })
			if err != nil {
				return fmt.Errorf("Unmarshal of %q into %T: %w", short(data), to, err)
			}
		}
		return nil
	}
	for _, v := range vs {
		data, err := k.encode(v)
		if err != nil {
			return err
		}
		if len(data) > 512 {
			continue
		}
		for i := range data {
			if err := try(data[:i], v); err != nil {
				return err
			}
			for bit := range 8 {
				flipped := bytes.Clone(data)
				flipped[i] ^= 1 << bit
				if err := try(flipped, v); err != nil {
					return err
				}
			}
		}
	}
	for b := range 256 {
		if err := try([]byte{byte(b)}, vs[0]); err != nil {
			return err
		}
	}
	// The same noise in every run: a failure can be seen again.
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		noise := make([]byte, random.IntN(64))
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		if err := try(noise, vs[0]); err != nil {
			return err
		}
	}
	return nil
}

func checkNesting(k *kit) error {
	make := k.Nested
	if make == nil {
		make = func(levels int) []byte { return nested(k.codec.ContentType(), levels) }
	}
	// A decoder without a bound gets through the first of these, and is found out
	// before the second would overflow its stack, which ends the process.
	for _, levels := range []int{100_000, 1_000_000} {
		data := make(levels)
		if data == nil {
			return nil // a format that the kit does not know
		}
		if err := k.codec.Unmarshal(data, new(any)); err == nil {
			return fmt.Errorf("%d levels are no error", levels)
		}
	}
	return nil
}

// maxForHuge is how much memory an input of a few bytes may take.
const maxForHuge = 1 << 20

func checkHuge(k *kit) error {
	inputs := k.Huge
	if inputs == nil {
		inputs = huge(k.codec.ContentType())
	}
	for _, data := range inputs {
		for _, to := range []func() any{
			func() any { return new(any) },
			func() any { return new([]byte) },
			func() any { return new(string) },
			func() any { return new([]int64) },
			func() any { return new(map[string]int64) },
			func() any { return new(Record) },
		} {
			least := ^uint64(0)
			// Other goroutines allocate too: the least is the truth.
			for i := 0; i < 20 && least > maxForHuge; i++ {
				least = min(least, allocated(func() { _ = k.codec.Unmarshal(data, to()) }))
			}
			if least > maxForHuge {
				return fmt.Errorf("%q into %T allocates %d bytes", data, to(), least)
			}
		}
	}
	return nil
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func checkConcurrent(k *kit) error {
	const goroutines = 8
	errs := make([]error, goroutines)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			<-start
			errs[g] = guard(func() error {
				vs := k.Values()
				for i := range vs {
					v := vs[(i+g*7)%len(vs)]
					data, err := k.encode(v)
					if err != nil {
						return err
					}
					if len(data) > large {
						continue
					}
					if err := k.decode(data, v); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("with %d goroutines: %w", goroutines, err)
		}
	}
	return nil
}

func scribble(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}
