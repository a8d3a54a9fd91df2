//! What someone may have meant who misspelt a name.

/// The candidate nearest to `name`, if it is near enough to be worth a question.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&name, &c.to_ascii_lowercase()), c))
        .filter(|(distance, c)| *distance <= 1 + c.len().min(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// The candidates, nearest to `name` first.
pub(super) fn by_distance<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_ascii_lowercase();
    let mut sorted: Vec<_> = candidates.into_iter().collect();
    sorted.sort_by_key(|c| strsim::damerau_levenshtein(&name, &c.to_ascii_lowercase()));
    sorted
}
