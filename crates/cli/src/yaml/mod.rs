//! YAML as Envoy reads it: reading and writing. Values are kept, layout and comments are not.

pub(crate) mod node;
mod reader;
mod writer;

pub(crate) use reader::parse;
pub(crate) use writer::write;

#[cfg(test)]
mod tests {
    use super::node::Node;
    use super::*;

    #[test]
    fn every_value_survives_writing_and_reading() {
        let texts = [
            "",
            " ",
            "yes",
            "on",
            "017",
            "~",
            "a: b # c",
            "- x",
            "tab\t",
            "\u{85}\u{feff}\u{7f}",
            "emoji 😀 \u{2028}",
            "one\ntwo",
            "one\ntwo\n",
            "one\n\n\ntwo",
            "one\n\n",
            "\n",
            "\none",
            " one\ntwo",
            "one \ntwo",
            "a\r\nb",
            "\"'\\",
            "---\n...",
            "# no comment\nb",
        ];
        let texts = Node::List(texts.map(Node::text).into());
        let plain = Node::List(
            ["yes", "017", "1.50", "", "null", "12:30"].map(|word| Node::Plain(word.into())).into(),
        );
        let node = Node::object([
            ("@type", texts.clone()),
            ("empty", Node::List(vec![Node::List(Vec::new()), Node::Object(Vec::new())])),
            ("nested", Node::List(vec![Node::List(vec![plain.clone(), texts.clone()]), plain])),
            ("- odd: #key", Node::object([("a", Node::object([("b", texts)])), ("", Node::text("x\ny"))])),
        ]);
        assert_eq!(parse(&write(&node)).unwrap(), node);
    }

    #[test]
    fn what_was_quoted_stays_quoted_and_what_was_plain_stays_plain() {
        let text = "a: \"yes\"\nb: yes\nc: 'on'\nd: 017\ne: {f: \"1\", g: 1}\n";
        assert_eq!(
            write(&parse(text).unwrap()),
            "a: \"yes\"\nb: yes\nc: \"on\"\nd: 017\ne:\n  f: \"1\"\n  g: 1\n"
        );
    }

    #[test]
    fn an_alias_is_the_value_that_it_names() {
        assert_eq!(parse("a: &x [1]\nb: *x\n").unwrap(), parse("{a: [1], b: [1]}").unwrap());
    }

    #[test]
    fn what_could_not_be_kept_is_refused() {
        for text in ["a: !ignore 1", "a: 1\n---\nb: 2", "? [a]\n: b", "a: *x", "a: [", "\tb: 1\n- c"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(5000)).is_err());
        let bomb = (1..30)
            .fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
        assert!(parse(&bomb).is_err());
    }
}
