//! Statements about the session: SET, RESET, SHOW, and transaction control.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::{SetStatement, Statement, TransactionStatement};
use crate::error::SqlError;

/// Parses SET.
pub fn set(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("SET")?;
    let mut local = false;
    if tokens.peek_nth_word(1).is_some() {
        local = tokens.take_word("LOCAL");
        if !local && tokens.take_words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
            // The session's defaults for later transactions.
            let modes = modes(tokens)?.into_iter();
            let defaults = modes.map(|(name, value)| (format!("default_{name}"), value));
            return Ok(Statement::Set(SetStatement::Characteristics(
                defaults.collect(),
            )));
        }
        if !local && tokens.peek_nth_word(1).as_deref() != Some("TO") {
            tokens.take_word("SESSION");
        }
    }
    if tokens.take_word("TRANSACTION") {
        if tokens.peek_word().as_deref() == Some("SNAPSHOT") {
            return Err(SqlError::not_supported(
                "SET TRANSACTION SNAPSHOT is not supported",
            ));
        }
        return Ok(Statement::Set(SetStatement::Transaction(modes(tokens)?)));
    }
    if tokens.take_words(&["TIME", "ZONE"]) {
        return value(tokens, "timezone".to_owned(), local);
    }
    if tokens.take_word("NAMES") {
        return value(tokens, "client_encoding".to_owned(), local);
    }
    if tokens.take_word("SCHEMA") {
        return value(tokens, "search_path".to_owned(), local);
    }
    if tokens.peek_word().as_deref() == Some("CONSTRAINTS") {
        return Err(SqlError::not_supported("SET CONSTRAINTS is not supported"));
    }
    if tokens.take_word("AUTHORIZATION") {
        return value(tokens, "session_authorization".to_owned(), local);
    }
    // But for `SET role = ...`, which is like any other setting's.
    let is_role =
        !tokens.peek_nth(1, &Token::Eq) && tokens.peek_nth_word(1).as_deref() != Some("TO");
    if is_role && tokens.take_word("ROLE") {
        return value(tokens, "role".to_owned(), local);
    }
    let name = setting_name(tokens)?;
    if !tokens.take(&Token::Eq) {
        tokens.expect_word("TO")?;
    }
    value(tokens, name, local)
}

fn setting_name(tokens: &mut Tokens<'_>) -> Result<String, SqlError> {
    let mut name = tokens.identifier()?;
    while tokens.take(&Token::Period) {
        name.push('.');
        name.push_str(&tokens.identifier()?);
    }
    Ok(name)
}

fn value(tokens: &mut Tokens<'_>, name: String, local: bool) -> Result<Statement, SqlError> {
    if tokens.take_word("DEFAULT") {
        return Ok(Statement::Set(SetStatement::Default {
            name,
            local,
            is_reset: false,
        }));
    }
    if name == "timezone" && tokens.take_word("LOCAL") {
        return Ok(Statement::Set(SetStatement::Default {
            name,
            local,
            is_reset: false,
        }));
    }
    if name == "timezone" && tokens.peek_word().as_deref() == Some("INTERVAL") {
        return Err(SqlError::not_supported(
            "SET TIME ZONE INTERVAL is not supported",
        ));
    }
    let values = tokens.list(|tokens| {
        if let Some(text) = tokens.take_string() {
            return Ok(text);
        }
        let sign = if tokens.take(&Token::Minus) {
            "-"
        } else {
            tokens.take(&Token::Plus);
            ""
        };
        if let Some(number) = tokens.take_number() {
            return Ok(format!("{sign}{number}"));
        }
        tokens.label()
    })?;
    Ok(Statement::Set(SetStatement::Value {
        name,
        values,
        local,
    }))
}

/// The name of a setting as RESET and SHOW take it, some of which are several words.
fn special_name(tokens: &mut Tokens<'_>) -> Result<String, SqlError> {
    if tokens.take_words(&["TIME", "ZONE"]) {
        Ok("timezone".to_owned())
    } else if tokens.take_words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        Ok("transaction_isolation".to_owned())
    } else if tokens.take_words(&["SESSION", "AUTHORIZATION"]) {
        Ok("session_authorization".to_owned())
    } else {
        setting_name(tokens)
    }
}

/// Parses RESET.
pub fn reset(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("RESET")?;
    if tokens.take_word("ALL") {
        return Ok(Statement::Set(SetStatement::ResetAll));
    }
    let name = special_name(tokens)?;
    Ok(Statement::Set(SetStatement::Default {
        name,
        local: false,
        is_reset: true,
    }))
}

/// Parses SHOW.
pub fn show(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("SHOW")?;
    if tokens.take_word("ALL") {
        return Ok(Statement::Show(None));
    }
    Ok(Statement::Show(Some(special_name(tokens)?)))
}

/// Parses BEGIN, START TRANSACTION, COMMIT, END, ROLLBACK and ABORT.
pub fn transaction(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    let is_start = tokens.take_words(&["START", "TRANSACTION"]);
    if is_start || tokens.take_word("BEGIN") {
        if !is_start {
            noise(tokens);
        }
        let modes = if tokens.at_end() {
            Vec::new()
        } else {
            modes(tokens)?
        };
        return Ok(Statement::Transaction(TransactionStatement::Begin {
            is_start,
            modes,
        }));
    }
    let commits = tokens.take_word("COMMIT") || tokens.take_word("END");
    if !commits && !tokens.take_word("ROLLBACK") {
        tokens.expect_word("ABORT")?;
    }
    if tokens.peek_word().as_deref() == Some("PREPARED") {
        return Err(SqlError::not_supported(
            "prepared transactions are not supported",
        ));
    }
    noise(tokens);
    if tokens.peek_word().as_deref() == Some("TO") {
        return Err(SqlError::not_supported("savepoints are not supported"));
    }
    let mut chain = false;
    if tokens.take_word("AND") {
        chain = !tokens.take_word("NO");
        tokens.expect_word("CHAIN")?;
    }
    Ok(Statement::Transaction(if commits {
        TransactionStatement::Commit { chain }
    } else {
        TransactionStatement::Rollback { chain }
    }))
}

fn noise(tokens: &mut Tokens<'_>) {
    let _ = tokens.take_word("WORK") || tokens.take_word("TRANSACTION");
}

/// Transaction modes, at least one, as the settings that they stand for. Commas between them may be
/// left out (`transaction_mode_list` in PostgreSQL's `gram.y`).
fn modes(tokens: &mut Tokens<'_>) -> Result<Vec<(String, String)>, SqlError> {
    let mut modes = vec![mode(tokens)?];
    while tokens.take(&Token::Comma) || !tokens.at_end() {
        modes.push(mode(tokens)?);
    }
    Ok(modes)
}

fn mode(tokens: &mut Tokens<'_>) -> Result<(String, String), SqlError> {
    let (name, value) = if tokens.take_words(&["ISOLATION", "LEVEL"]) {
        let level = [
            ["READ", "COMMITTED"].as_slice(),
            &["READ", "UNCOMMITTED"],
            &["REPEATABLE", "READ"],
            &["SERIALIZABLE"],
        ]
        .into_iter()
        .find(|words| tokens.take_words(words))
        .ok_or_else(|| tokens.syntax_error())?;
        ("transaction_isolation", level.join(" ").to_lowercase())
    } else if tokens.take_words(&["READ", "ONLY"]) {
        ("transaction_read_only", "on".to_owned())
    } else if tokens.take_words(&["READ", "WRITE"]) {
        ("transaction_read_only", "off".to_owned())
    } else if tokens.take_words(&["NOT", "DEFERRABLE"]) {
        ("transaction_deferrable", "off".to_owned())
    } else if tokens.take_word("DEFERRABLE") {
        ("transaction_deferrable", "on".to_owned())
    } else {
        return Err(tokens.syntax_error());
    };
    Ok((name.to_owned(), value))
}
