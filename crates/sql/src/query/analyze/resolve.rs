//! Which of several operators or functions a call means: PostgreSQL's rules
//! (`func_match_argtypes` and `func_select_candidate`, `parse_func.c`).

use trunkline_pgformat::Oid;
use trunkline_types::oids;

use crate::query::pgtype::{CoercionContext, can_coerce, category, is_preferred};

/// The outcome of a choice among candidates.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The index of the one that fits.
    One(usize),
    /// None fits.
    None,
    /// Several fit equally well.
    Ambiguous,
}

/// Accepts an argument of any type.
pub(crate) const ANY: Oid = Oid(2276);

/// Whether a type is an array's, `int2vector` and `oidvector` among them.
pub(crate) fn is_array(oid: Oid) -> bool {
    category(oid) == 'A'
}

/// Whether a value of type `have` is an argument of type `want` as it is.
pub(crate) fn accepts(want: Oid, have: Oid) -> bool {
    want == have || want == ANY || (want == oids::ANYARRAY && is_array(have))
}

fn exact(candidate: &[Oid], args: &[Oid]) -> bool {
    candidate
        .iter()
        .zip(args)
        .all(|(want, have)| accepts(*want, *have))
}

/// Chooses among candidates by the types of the arguments (705 is unknown).
pub(crate) fn choose(args: &[Oid], candidates: &[&[Oid]]) -> Choice {
    let same_length = || {
        candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.len() == args.len())
    };
    if let Some((index, _)) = same_length().find(|(_, candidate)| exact(candidate, args)) {
        return Choice::One(index);
    }
    let fits = |candidate: &[Oid]| {
        candidate.iter().zip(args).all(|(want, have)| {
            accepts(*want, *have) || can_coerce(*have, *want, CoercionContext::Implicit)
        })
    };
    let mut left: Vec<usize> = same_length()
        .filter(|(_, candidate)| fits(candidate))
        .map(|(index, _)| index)
        .collect();
    match left.as_slice() {
        [] => return Choice::None,
        [one] => return Choice::One(*one),
        _ => {}
    }
    let known = |index: &usize| args[*index] != oids::UNKNOWN;
    let positions: Vec<usize> = (0..args.len()).collect();
    keep_best(&mut left, |candidate| {
        positions
            .iter()
            .filter(|at| known(at) && candidates[candidate][**at] == args[**at])
            .count()
    });
    if let [one] = left.as_slice() {
        return Choice::One(*one);
    }
    keep_best(&mut left, |candidate| {
        positions
            .iter()
            .filter(|at| {
                let want = candidates[candidate][**at];
                known(at)
                    && (want == args[**at]
                        || (is_preferred(want) && category(want) == category(args[**at])))
            })
            .count()
    });
    if let [one] = left.as_slice() {
        return Choice::One(*one);
    }
    let unknowns: Vec<usize> = positions
        .iter()
        .copied()
        .filter(|at| args[*at] == oids::UNKNOWN)
        .collect();
    if unknowns.is_empty() {
        return Choice::Ambiguous;
    }
    if let Some(one) = by_category(&mut left, &unknowns, candidates) {
        return Choice::One(one);
    }
    let mut known_types = positions.iter().filter(|at| known(at)).map(|at| args[*at]);
    if let Some(first) = known_types.next()
        && known_types.all(|other| other == first)
    {
        let mut accepting = left.iter().filter(|index| {
            candidates[**index]
                .iter()
                .all(|want| *want == ANY || can_coerce(first, *want, CoercionContext::Implicit))
        });
        if let (Some(one), None) = (accepting.next(), accepting.next()) {
            return Choice::One(*one);
        }
    }
    Choice::Ambiguous
}

fn keep_best(left: &mut Vec<usize>, score: impl Fn(usize) -> usize) {
    let best = left
        .iter()
        .map(|candidate| score(*candidate))
        .max()
        .unwrap_or(0);
    left.retain(|candidate| score(*candidate) == best);
}

/// Decides by the category that the unknown arguments most likely have: string if any candidate
/// takes a string there, else the one that all candidates agree on.
fn by_category(left: &mut Vec<usize>, unknowns: &[usize], candidates: &[&[Oid]]) -> Option<usize> {
    let mut wanted = Vec::new();
    for at in unknowns {
        let mut categories = left.iter().map(|index| category(candidates[*index][*at]));
        let first = categories.next()?;
        let string = left
            .iter()
            .any(|index| category(candidates[*index][*at]) == 'S');
        let chosen = if string {
            'S'
        } else if categories.all(|other| other == first) {
            first
        } else {
            return None;
        };
        let preferred = left.iter().any(|index| {
            let ty = candidates[*index][*at];
            category(ty) == chosen && is_preferred(ty)
        });
        wanted.push((*at, chosen, preferred));
    }
    let kept: Vec<usize> = left
        .iter()
        .copied()
        .filter(|index| {
            wanted.iter().all(|(at, chosen, preferred)| {
                let ty = candidates[*index][*at];
                category(ty) == *chosen && (!preferred || is_preferred(ty))
            })
        })
        .collect();
    if !kept.is_empty() {
        *left = kept;
    }
    match left.as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_takes_the_other_side() {
        let candidates: &[&[Oid]] = &[
            &[oids::INT4, oids::INT4],
            &[oids::INT8, oids::INT8],
            &[oids::FLOAT8, oids::FLOAT8],
            &[oids::NUMERIC, oids::NUMERIC],
        ];
        assert_eq!(
            choose(&[oids::INT2, oids::INT8], candidates),
            Choice::One(1)
        );
        assert_eq!(
            choose(&[oids::INT4, oids::NUMERIC], candidates),
            Choice::One(3)
        );
        assert_eq!(choose(&[oids::INT4, oids::TEXT], candidates), Choice::None);
        assert_eq!(
            choose(&[oids::UNKNOWN, oids::UNKNOWN], candidates),
            Choice::One(2)
        );
    }

    #[test]
    fn a_string_is_what_unknowns_like_best() {
        let candidates: &[&[Oid]] = &[&[oids::BYTEA], &[oids::TEXT]];
        assert_eq!(choose(&[oids::UNKNOWN], candidates), Choice::One(1));
        let candidates: &[&[Oid]] = &[&[oids::DATE], &[oids::UUID]];
        assert_eq!(choose(&[oids::UNKNOWN], candidates), Choice::Ambiguous);
    }
}
