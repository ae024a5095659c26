package msgpackcodec_test

import (
	"fmt"

	"github.com/weftws/weft/codec/msgpackcodec"
)

func ExampleCodec() {
	type Said struct {
		From string `json:"from"` // one struct for JSON and msgpack
		Text string `json:"text"`
	}
	c := msgpackcodec.New(nil)
	data, err := c.Append(nil, Said{From: "ann", Text: "hi"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", data)
	var said Said
	if err := c.Unmarshal(data, &said); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(said.From, "says", said.Text)
	// Output:
	// "\x82\xa4from\xa3ann\xa4text\xa2hi"
	// ann says hi
}

func ExampleOptions() {
	c := msgpackcodec.New(&msgpackcodec.Options{DisallowDuplicateKeys: true})
	fmt.Println(c.Unmarshal([]byte("\x82\xa2to\x01\xa2to\x02"), new(map[string]int)))
	// Output: msgpackcodec: duplicate key at byte 5
}
