//! Prometheus's remote write, version 0.1.0 of its specification: one `WriteRequest` in protobuf, compressed by snappy.
//!
//! Four messages with strings, a double and an integer are all that there is, so they are written by hand.

/// Field numbers with their wire types: `number << 3 | type`, where 0 is a varint, 1 eight bytes, and 2 bytes by length.
mod tag {
    pub const REQUEST_SERIES: u8 = 1 << 3 | 2;
    pub const SERIES_LABEL: u8 = 1 << 3 | 2;
    pub const SERIES_SAMPLE: u8 = 2 << 3 | 2;
    pub const LABEL_NAME: u8 = 1 << 3 | 2;
    pub const LABEL_VALUE: u8 = 2 << 3 | 2;
    pub const SAMPLE_VALUE: u8 = 1 << 3 | 1;
    pub const SAMPLE_TIME: u8 = 2 << 3;
}

/// The labels of a series, written once and sent with each of its samples. They must be sorted by name.
pub fn labels(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        put_bytes(&mut label, tag::LABEL_NAME, name.as_bytes());
        put_bytes(&mut label, tag::LABEL_VALUE, value.as_bytes());
        put_bytes(&mut out, tag::SERIES_LABEL, &label);
    }
    out
}

/// Adds a series with one sample, whose time is in milliseconds since the Unix epoch, to a request.
pub fn put_sample(request: &mut Vec<u8>, labels: &[u8], time_ms: u64, value: f64) {
    let mut sample = vec![tag::SAMPLE_VALUE];
    sample.extend_from_slice(&value.to_le_bytes());
    sample.push(tag::SAMPLE_TIME);
    put_varint(&mut sample, time_ms);
    let mut series = labels.to_vec();
    put_bytes(&mut series, tag::SERIES_SAMPLE, &sample);
    put_bytes(request, tag::REQUEST_SERIES, &series);
}

/// The body of the HTTP request.
///
/// # Errors
/// Where it is larger than snappy can have.
pub fn compress(request: &[u8]) -> Result<Vec<u8>, snap::Error> {
    snap::raw::Encoder::new().compress_vec(request)
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `protoc --encode=prometheus.WriteRequest` writes it, by the wire format's documentation.
    #[test]
    fn a_request_is_what_the_wire_format_says() {
        let mut request = Vec::new();
        let labels = labels(&[("__name__", "up"), ("a", "b")]);
        put_sample(&mut request, &labels, 300, 1.0);
        let expected: &[&[u8]] = &[
            &[0x0a, 0x26],
            &[0x0a, 0x0e, 0x0a, 0x08],
            b"__name__",
            &[0x12, 0x02],
            b"up",
            &[0x0a, 0x06, 0x0a, 0x01, b'a', 0x12, 0x01, b'b'],
            &[
                0x12, 0x0c, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 0x02,
            ],
        ];
        assert_eq!(request, expected.concat());
    }

    #[test]
    fn a_length_beyond_127_takes_two_bytes() {
        let name = "x".repeat(200);
        let labels = labels(&[(&name, "")]);
        assert_eq!(labels[..4], [0x0a, 0xcd, 0x01, 0x0a]);
        assert_eq!(labels.len(), 3 + 0xcd);
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let body = compress(&[7; 1_000]).unwrap();
        let back = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        assert_eq!(back, [7; 1_000]);
    }
}
