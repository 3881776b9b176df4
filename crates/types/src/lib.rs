//! PostgreSQL's types: what they are called, how their values lie in a tuple, and their text and
//! binary forms.
//!
//! A **datum** is its on-disk payload, `&[u8]`; NULL is `None`. Fixed-length types are their
//! `typlen` bytes, little-endian. Varlena types are their bytes *without* the varlena header:
//! text's UTF-8, numeric's `n_header` and digits, an array's `ndim` and what follows. Headers and
//! alignment are added by [`TupleFormer`] and taken away by [`deform()`].
//!
//! Data flows in through [`input_text`] and [`input_binary`] (which append a payload), into a
//! [`TupleFormer`], out through a [`Projection`], and through [`output_text`] and
//! [`output_binary`]. All dispatch once on a [`ColumnType`].
//!
//! The crate knows no page, no table and no clock: the session's settings and the transaction's
//! start come with an [`InputStyle`].

pub mod array;
mod bytes;
mod column_type;
pub mod datetime;
mod deform;
mod error;
mod float;
mod form;
mod identifier;
pub mod integer;
pub mod numeric;
pub mod oids;
pub mod string;
mod style;
mod system;
mod tuple_desc;
mod type_info;
mod value_io;

pub use column_type::{ColumnType, TypeKind};
pub use datetime::TimeZone;
pub use deform::{DeformError, Projection, deform, deform_columns};
pub use error::{TypeError, sqlstate};
pub use form::{OpenValue, TupleFormer, TupleTooBig};
pub use identifier::quote_identifier;
pub use numeric::Numeric;
pub use string::verify_utf8;
pub use style::{
    ByteaOutput, DateOrder, DateStyle, InputStyle, ObjectNames, OutputStyle, format_date_style,
    parse_date_style,
};
pub use system::OidAlias;
pub use trunkline_pgformat::Oid;
pub use trunkline_pgformat::heap_tuple::MAX_HEAP_ATTRIBUTE_NUMBER;
pub use tuple_desc::{Attribute, TupleDesc};
pub use type_info::{
    Align, TypeInfo, all_types, format_type, make_numeric_typmod, numeric_typmod, type_by_name,
    type_by_sql_name, type_info, typmod_in,
};
pub use value_io::{input_binary, input_text, output_binary, output_text};
