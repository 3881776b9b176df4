//! Arrays and the two vector types.
//!
//! The payload is PostgreSQL's `ArrayType` without its length word (`array.h`): number of
//! dimensions, offset of the data (0 without NULLs; counted with the length word), element type,
//! the dimensions, their lower bounds, perhaps a null bitmap, and at a multiple of eight bytes
//! (again counted with the length word) the elements, aligned as their type wants. Varlena
//! elements have four-byte headers.

use trunkline_pgformat::Oid;
use trunkline_pgformat::align::max_align;
use trunkline_pgformat::varlena::long_header;

use crate::column_type::ColumnType;
use crate::deform::value_at;
use crate::error::{TypeError, sqlstate};
use crate::integer::{self, is_space, push_i64, push_u64};
use crate::oids;
use crate::style::{InputStyle, OutputStyle};
use crate::tuple_desc::AttrLayout;
use crate::type_info::TypeInfo;
use crate::value_io;

/// Most dimensions of an array (`MAXDIM`).
const MAX_DIMENSIONS: usize = 6;
/// Bytes of the length word, which the payload lacks.
const LENGTH_WORD: usize = 4;

fn layout_of(info: &TypeInfo) -> AttrLayout {
    AttrLayout {
        len: info.len,
        align_mask: (info.align.bytes() - 1) as u8,
        packable: false,
    }
}

/// One dimension: how many elements, and the first one's subscript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dimension {
    len: i32,
    lower: i32,
}

fn element_type(oid: Oid, typmod: i32) -> Result<ColumnType, TypeError> {
    ColumnType::new(oid, typmod)
}

/// Appends an array's payload.
fn put_array(
    elem: &TypeInfo,
    dimensions: &[Dimension],
    elements: &[Option<Vec<u8>>],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let fixed = LENGTH_WORD + 12 + dimensions.len() * 8;
    let has_null = elements.iter().any(Option::is_none);
    let bitmap = if has_null {
        elements.len().div_ceil(8)
    } else {
        0
    };
    let data = max_align(fixed + bitmap);
    out.extend_from_slice(&(dimensions.len() as i32).to_le_bytes());
    let data_offset = if has_null { data as i32 } else { 0 };
    out.extend_from_slice(&data_offset.to_le_bytes());
    out.extend_from_slice(&elem.oid.0.to_le_bytes());
    for dimension in dimensions {
        out.extend_from_slice(&dimension.len.to_le_bytes());
    }
    for dimension in dimensions {
        out.extend_from_slice(&dimension.lower.to_le_bytes());
    }
    if dimensions.is_empty() {
        return;
    }
    out.resize(start + data - LENGTH_WORD, 0);
    for (index, _) in elements
        .iter()
        .enumerate()
        .filter(|(_, element)| has_null && element.is_some())
    {
        out[start + fixed - LENGTH_WORD + index / 8] |= 1 << (index % 8);
    }
    let layout = layout_of(elem);
    let origin = out.len();
    for element in elements.iter().flatten() {
        let aligned = origin + layout.align(out.len() - origin);
        out.resize(aligned, 0);
        if elem.len == -1 {
            out.extend_from_slice(&long_header(element.len()));
        }
        out.extend_from_slice(element);
    }
    // The next element's alignment is part of the array.
    let end = origin + layout.align(out.len() - origin);
    out.resize(end, 0);
}

/// Appends the payload of a `text[]` (also `name`-like lists of options) of one dimension.
pub fn put_text_array(elements: &[Option<&str>], out: &mut Vec<u8>) {
    let elements: Vec<_> = elements
        .iter()
        .map(|element| element.map(|text| text.as_bytes().to_vec()))
        .collect();
    if let Some(info) = crate::type_info::type_info(oids::TEXT) {
        put_array(info, &one_dimension(elements.len(), 1), &elements, out);
    }
}

fn one_dimension(len: usize, lower: i32) -> Vec<Dimension> {
    if len == 0 {
        Vec::new()
    } else {
        vec![Dimension {
            len: len as i32,
            lower,
        }]
    }
}

/// An array taken apart.
struct Array<'a> {
    elem: ColumnType,
    dimensions: Vec<Dimension>,
    elements: Vec<Option<&'a [u8]>>,
}

fn word(payload: &[u8], at: usize) -> Option<i32> {
    payload
        .get(at..)?
        .first_chunk::<4>()
        .map(|bytes| i32::from_le_bytes(*bytes))
}

/// Takes a payload apart; `None` if it makes no sense.
fn read_array(payload: &[u8]) -> Option<Array<'_>> {
    let count = usize::try_from(word(payload, 0)?)
        .ok()
        .filter(|n| *n <= MAX_DIMENSIONS)?;
    let data_offset = usize::try_from(word(payload, 4)?).ok()?;
    let elem = element_type(Oid(word(payload, 8)? as u32), -1).ok()?;
    let mut dimensions = Vec::with_capacity(count);
    let mut total = if count == 0 { 0usize } else { 1 };
    for index in 0..count {
        let len = word(payload, 12 + index * 4)?;
        let lower = word(payload, 12 + (count + index) * 4)?;
        dimensions.push(Dimension { len, lower });
        total = total.checked_mul(usize::try_from(len).ok()?)?;
    }
    let fixed = 12 + count * 8;
    let bitmap = if data_offset > 0 {
        Some(payload.get(fixed..)?)
    } else {
        None
    };
    let with_length_word = if data_offset > 0 {
        data_offset
    } else {
        max_align(LENGTH_WORD + fixed)
    };
    let start = with_length_word.checked_sub(LENGTH_WORD)?;
    let data = payload.get(start..).unwrap_or_default();
    // Every element takes a byte or a bit.
    if total > payload.len() * 8 {
        return None;
    }
    let layout = layout_of(elem.info());
    let mut offset = 0;
    let mut elements = Vec::with_capacity(total);
    for index in 0..total {
        let is_null = match bitmap {
            Some(bits) => bits.get(index / 8)? & (1 << (index % 8)) == 0,
            None => false,
        };
        if is_null {
            elements.push(None);
            continue;
        }
        let (value, end) = value_at(data, layout, offset).ok()?;
        elements.push(Some(value));
        offset = end;
    }
    Some(Array {
        elem,
        dimensions,
        elements,
    })
}

/// An array's parts, for functions over arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayParts<'a> {
    /// Type of the elements.
    pub element: Oid,
    /// Length and lower bound of each dimension; none for an empty array.
    pub dimensions: Vec<(i32, i32)>,
    /// The elements' payloads in storage order.
    pub elements: Vec<Option<&'a [u8]>>,
}

/// Takes the payload of an array, an `int2vector` or an `oidvector` apart; `None` if it is none.
pub fn array_parts(payload: &[u8]) -> Option<ArrayParts<'_>> {
    let array = read_array(payload)?;
    Some(ArrayParts {
        element: array.elem.oid(),
        dimensions: array
            .dimensions
            .iter()
            .map(|dimension| (dimension.len, dimension.lower))
            .collect(),
        elements: array.elements,
    })
}

/// Appends the payload of an array of one dimension that begins at 1; `None` if there is no type
/// `element`.
pub fn put_elements(element: Oid, elements: &[Option<Vec<u8>>], out: &mut Vec<u8>) -> Option<()> {
    let info = crate::type_info::type_info(element)?;
    put_array(info, &one_dimension(elements.len(), 1), elements, out);
    Some(())
}

/// The elements of an array's payload in storage order; `None` if the payload is no array.
pub fn array_elements(payload: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    read_array(payload).map(|array| array.elements)
}

/// `array_isspace`
fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text
            .iter()
            .any(|&byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(byte))
}

/// Appends the text of an array (`array_out`).
pub(crate) fn output_text(
    ty: &ColumnType,
    payload: &[u8],
    style: &OutputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let array = read_array(payload).ok_or_else(|| value_io::damaged(ty))?;
    if array.elements.is_empty() {
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    if array
        .dimensions
        .iter()
        .any(|dimension| dimension.lower != 1)
    {
        for dimension in &array.dimensions {
            out.push(b'[');
            push_i64(out, dimension.lower.into());
            out.push(b':');
            push_i64(
                out,
                i64::from(dimension.lower) + i64::from(dimension.len) - 1,
            );
            out.push(b']');
        }
        out.push(b'=');
    }
    // How many elements a brace of each dimension holds.
    let mut spans = vec![1usize; array.dimensions.len()];
    let mut span = 1;
    for (slot, dimension) in spans.iter_mut().zip(&array.dimensions).rev() {
        span *= dimension.len as usize;
        *slot = span;
    }
    let mut text = Vec::new();
    for (index, element) in array.elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        for _ in spans.iter().filter(|span| index % **span == 0) {
            out.push(b'{');
        }
        match element {
            None => out.extend_from_slice(b"NULL"),
            Some(value) => {
                text.clear();
                value_io::output_text(&array.elem, value, style, &mut text)?;
                if needs_quotes(&text) {
                    out.push(b'"');
                    for &byte in &text {
                        if matches!(byte, b'"' | b'\\') {
                            out.push(b'\\');
                        }
                        out.push(byte);
                    }
                    out.push(b'"');
                } else {
                    out.extend_from_slice(&text);
                }
            }
        }
        for _ in spans.iter().filter(|span| (index + 1) % **span == 0) {
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends the binary form (`array_send`).
pub(crate) fn output_binary(
    ty: &ColumnType,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let array = read_array(payload).ok_or_else(|| value_io::damaged(ty))?;
    out.extend_from_slice(&(array.dimensions.len() as i32).to_be_bytes());
    let has_null = array.elements.iter().any(Option::is_none);
    out.extend_from_slice(&i32::from(has_null).to_be_bytes());
    out.extend_from_slice(&array.elem.oid().0.to_be_bytes());
    for dimension in &array.dimensions {
        out.extend_from_slice(&dimension.len.to_be_bytes());
        out.extend_from_slice(&dimension.lower.to_be_bytes());
    }
    for element in &array.elements {
        let Some(value) = element else {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            continue;
        };
        let length = out.len();
        out.extend_from_slice(&[0; 4]);
        value_io::output_binary(&array.elem, value, out)?;
        let size = (out.len() - length - 4) as i32;
        out[length..length + 4].copy_from_slice(&size.to_be_bytes());
    }
    Ok(())
}

/// Reads the binary form (`array_recv`).
pub(crate) fn input_binary(
    elem: &ColumnType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let (dimensions, elements) = read_binary(elem, bytes)?;
    put_array(elem.info(), &dimensions, &elements, out);
    Ok(())
}

type Elements = (Vec<Dimension>, Vec<Option<Vec<u8>>>);

fn read_binary(elem: &ColumnType, bytes: &[u8]) -> Result<Elements, TypeError> {
    let mut rest = bytes;
    let mut next = || -> Result<i32, TypeError> {
        let (value, after) = rest
            .split_first_chunk::<4>()
            .ok_or_else(TypeError::insufficient_data)?;
        rest = after;
        Ok(i32::from_be_bytes(*value))
    };
    let invalid =
        |message: String| TypeError::new(sqlstate::INVALID_BINARY_REPRESENTATION, message);
    let count = next()?;
    if count < 0 {
        return Err(invalid(format!("invalid number of dimensions: {count}")));
    }
    if count as usize > MAX_DIMENSIONS {
        return Err(too_many_dimensions(count as usize));
    }
    if !matches!(next()?, 0 | 1) {
        return Err(invalid("invalid array flags".to_owned()));
    }
    let oid = next()? as u32;
    if oid != elem.oid().0 {
        return Err(TypeError::new(
            sqlstate::DATATYPE_MISMATCH,
            format!(
                "binary data has array element type {oid} ({}) instead of expected {} ({})",
                crate::type_info::format_type(Oid(oid), -1),
                elem.oid(),
                elem.info().sql_name
            ),
        ));
    }
    let mut dimensions = Vec::new();
    let mut total = usize::from(count > 0);
    for _ in 0..count {
        let (len, lower) = (next()?, next()?);
        let too_large = || {
            TypeError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                "array size exceeds the maximum allowed (134217727)",
            )
        };
        let size = usize::try_from(len).map_err(|_| too_large())?;
        total = total
            .checked_mul(size)
            .filter(|n| *n <= 134_217_727)
            .ok_or_else(too_large)?;
        dimensions.push(Dimension { len, lower });
    }
    let mut elements = Vec::new();
    for _ in 0..total {
        let (size, after) = rest
            .split_first_chunk::<4>()
            .ok_or_else(TypeError::insufficient_data)?;
        let size = i32::from_be_bytes(*size);
        rest = after;
        if size == -1 {
            elements.push(None);
            continue;
        }
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= rest.len());
        let (value, after) = rest.split_at(size.ok_or_else(TypeError::insufficient_data)?);
        rest = after;
        let mut payload = Vec::new();
        value_io::input_binary(elem, value, &mut payload)?;
        elements.push(Some(payload));
    }
    if !rest.is_empty() {
        return Err(TypeError::incorrect_binary_format());
    }
    if total == 0 {
        dimensions.clear();
    }
    Ok((dimensions, elements))
}

fn too_many_dimensions(count: usize) -> TypeError {
    TypeError::new(
        sqlstate::PROGRAM_LIMIT_EXCEEDED,
        format!(
            "number of array dimensions ({count}) exceeds the maximum allowed ({MAX_DIMENSIONS})"
        ),
    )
}

fn malformed(text: &str, detail: &str) -> TypeError {
    TypeError::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("malformed array literal: \"{text}\""),
    )
    .with_detail(detail)
}

/// Reads an array's text (`array_in`). The lower bounds are 1: dimensions cannot be written out.
pub(crate) fn input_text(
    elem: &ColumnType,
    text: &str,
    style: &InputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        at: 0,
        elem,
        style,
        lengths: Vec::new(),
        elements: Vec::new(),
    };
    parser.skip_spaces();
    if parser.peek() == Some(b'[') {
        return Err(TypeError::new(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "array literals with explicit dimensions are not supported",
        ));
    }
    if parser.peek() != Some(b'{') {
        return Err(malformed(
            text,
            "Array value must start with \"{\" or dimension information.",
        ));
    }
    parser.braces(0)?;
    parser.skip_spaces();
    if parser.at < parser.bytes.len() {
        return Err(malformed(text, "Junk after closing right brace."));
    }
    let dimensions: Vec<_> = if parser.elements.is_empty() {
        Vec::new()
    } else {
        let lengths = parser.lengths.iter().flatten();
        lengths.map(|&len| Dimension { len, lower: 1 }).collect()
    };
    put_array(elem.info(), &dimensions, &parser.elements, out);
    Ok(())
}

struct Parser<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    elem: &'t ColumnType,
    style: &'t InputStyle,
    /// Length of each dimension, once a brace of it has been closed.
    lengths: Vec<Option<i32>>,
    elements: Vec<Option<Vec<u8>>>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn malformed(&self, detail: &str) -> TypeError {
        malformed(self.text, detail)
    }

    fn mismatched(&self) -> TypeError {
        self.malformed("Multidimensional arrays must have sub-arrays with matching dimensions.")
    }

    /// A brace and all within; `depth` is that of its own items.
    fn braces(&mut self, depth: usize) -> Result<(), TypeError> {
        if depth >= MAX_DIMENSIONS {
            return Err(TypeError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "number of array dimensions exceeds the maximum allowed ({MAX_DIMENSIONS})"
                ),
            ));
        }
        if self.lengths.len() == depth {
            self.lengths.push(None);
        }
        self.at += 1;
        let mut count = 0;
        let mut nested = None;
        loop {
            self.skip_spaces();
            match self.peek() {
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(b'}') if count == 0 => {
                    self.at += 1;
                    break;
                }
                Some(byte @ (b'}' | b',')) => {
                    let shown = byte as char;
                    return Err(self.malformed(&format!("Unexpected \"{shown}\" character.")));
                }
                Some(b'{') => {
                    if nested == Some(false) {
                        return Err(self.mismatched());
                    }
                    nested = Some(true);
                    self.braces(depth + 1)?;
                }
                Some(_) => {
                    if nested == Some(true) || self.lengths.len() > depth + 1 {
                        return Err(self.mismatched());
                    }
                    nested = Some(false);
                    self.element()?;
                }
            }
            count += 1;
            self.skip_spaces();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(b'{') => return Err(self.malformed("Unexpected \"{\" character.")),
                Some(_) => return Err(self.malformed("Unexpected array element.")),
            }
        }
        match self.lengths[depth] {
            Some(known) if known != count => Err(self.mismatched()),
            _ => {
                self.lengths[depth] = Some(count);
                Ok(())
            }
        }
    }

    fn element(&mut self) -> Result<(), TypeError> {
        let mut item = Vec::new();
        let quoted = self.peek() == Some(b'"');
        let mut escaped = false;
        if quoted {
            self.at += 1;
            loop {
                match self.peek() {
                    None => return Err(self.malformed("Unexpected end of input.")),
                    Some(b'"') => break,
                    Some(b'\\') => {
                        self.at += 1;
                        let byte = self
                            .peek()
                            .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                        item.push(byte);
                    }
                    Some(byte) => item.push(byte),
                }
                self.at += 1;
            }
            self.at += 1;
            self.skip_spaces();
            if !matches!(self.peek(), None | Some(b',' | b'}' | b'{')) {
                return Err(self.malformed("Incorrectly quoted array element."));
            }
        } else {
            // Blanks at the end do not belong to the item, unless escaped.
            let mut end = 0;
            loop {
                match self.peek() {
                    None => return Err(self.malformed("Unexpected end of input.")),
                    Some(b',' | b'}') => break,
                    Some(b'{') => return Err(self.malformed("Unexpected \"{\" character.")),
                    Some(b'"') => {
                        return Err(self.malformed("Incorrectly quoted array element."));
                    }
                    Some(b'\\') => {
                        self.at += 1;
                        let byte = self
                            .peek()
                            .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                        item.push(byte);
                        escaped = true;
                        end = item.len();
                    }
                    Some(byte) => {
                        item.push(byte);
                        if !is_space(byte) {
                            end = item.len();
                        }
                    }
                }
                self.at += 1;
            }
            item.truncate(end);
        }
        if !quoted && !escaped && item.eq_ignore_ascii_case(b"null") {
            self.elements.push(None);
            return Ok(());
        }
        let item = crate::string::verify_utf8(&item)?;
        let mut payload = Vec::new();
        value_io::input_text(self.elem, item, self.style, &mut payload)?;
        self.elements.push(Some(payload));
        Ok(())
    }
}

/// The payload of an `int2vector` or `oidvector`: one dimension, counted from 0.
fn put_vector(elem: Oid, count: usize, values: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    for field in [1, 0, elem.0 as i32, count as i32, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend(values);
}

/// Appends the payload of an `int2vector`.
pub fn put_int2vector(values: &[i16], out: &mut Vec<u8>) {
    put_vector(
        oids::INT2,
        values.len(),
        values.iter().flat_map(|v| v.to_le_bytes()),
        out,
    );
}

/// Appends the payload of an `oidvector`.
pub fn put_oidvector(values: &[Oid], out: &mut Vec<u8>) {
    put_vector(
        oids::OID,
        values.len(),
        values.iter().flat_map(|v| v.0.to_le_bytes()),
        out,
    );
}

/// Reads `1 2 3` as an `int2vector` (`int2vectorin`) or `oidvector` (`oidvectorin`).
pub(crate) fn input_vector_text(elem: Oid, text: &str, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let skip_spaces = |text: &str| text.len() - text.trim_start_matches(space).len();
    let mut rest = &text[skip_spaces(text)..];
    let mut small = Vec::new();
    let mut values = Vec::new();
    while !rest.is_empty() {
        if elem == oids::INT2 {
            let (word, after) = rest.split_at(rest.find(space).unwrap_or(rest.len()));
            small.push(integer::parse_int2(word)?);
            rest = after;
        } else {
            // A number ends where its digits do; what follows is the next one, blank or not.
            let (value, after) = integer::parse_u32_prefix(rest, "oid")?;
            values.push(Oid(value));
            rest = after;
        }
        rest = &rest[skip_spaces(rest)..];
    }
    if elem == oids::INT2 {
        put_int2vector(&small, out);
    } else {
        put_oidvector(&values, out);
    }
    Ok(())
}

fn space(c: char) -> bool {
    c.is_ascii() && is_space(c as u8)
}

/// Reads the binary form of a vector, which is an array's.
pub(crate) fn input_vector_binary(
    elem: Oid,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let elem_type = element_type(elem, -1)?;
    let (dimensions, elements) = read_binary(&elem_type, bytes)?;
    let is_vector = matches!(dimensions.as_slice(), [] | [Dimension { lower: 0, .. }]);
    if !is_vector || elements.iter().any(Option::is_none) {
        let name = if elem == oids::INT2 {
            "int2vector"
        } else {
            "oidvector"
        };
        return Err(TypeError::new(
            sqlstate::INVALID_BINARY_REPRESENTATION,
            format!("invalid {name} data"),
        ));
    }
    put_vector(
        elem,
        elements.len(),
        elements.into_iter().flatten().flatten(),
        out,
    );
    Ok(())
}

/// Appends the text of a vector; `None` if the payload makes no sense.
pub(crate) fn output_vector_text(payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let array = read_array(payload)?;
    for (index, value) in array.elements.iter().flatten().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        match **value {
            [a, b] => push_i64(out, i16::from_le_bytes([a, b]).into()),
            [a, b, c, d] => push_u64(out, u32::from_le_bytes([a, b, c, d]).into()),
            _ => return None,
        }
    }
    Some(())
}
