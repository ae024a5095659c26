package jsoncodec_test

import (
	"fmt"

	"github.com/weftws/weft/codec/jsoncodec"
)

func ExampleCodec() {
	type Said struct {
		From string `json:"from"`
		Text string `json:"text"`
	}
	c := jsoncodec.New(nil)
	data, err := c.Append(nil, Said{From: "ann", Text: "1 < 2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", data)
	var said Said
	fmt.Println(c.Unmarshal([]byte(`{"from":"ann","text":5}`), &said))
	// Output:
	// {"from":"ann","text":"1 < 2"}
	// jsoncodec: json: cannot unmarshal number into Go struct field Said.text of type string
}

func ExampleOptions() {
	c := jsoncodec.New(&jsoncodec.Options{DisallowDuplicateNames: true})
	fmt.Println(c.Unmarshal([]byte(`{"to":1,"t\u006f":2}`), new(map[string]int)))
	// Output: jsoncodec: duplicate name "to" at byte 8
}
