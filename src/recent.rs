//! Short lists in the order in which their items were last used, with a maximum length.

/// Moves the item for which `is_it` returns `true` to the end of `list`, and returns it; `None` if
/// there is none.
pub(crate) fn touch<T>(list: &mut [T], is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
    let at = list.iter().position(is_it)?;
    list[at..].rotate_left(1);
    list.last_mut()
}

/// Does the same. If there is none, appends the item that `make` returns, which replaces the first
/// one if there are `max` items.
pub(crate) fn touch_or_push<T>(
    list: &mut Vec<T>,
    max: usize,
    is_it: impl FnMut(&T) -> bool,
    make: impl FnOnce() -> T,
) -> &mut T {
    if touch(list, is_it).is_none() {
        if list.len() == max {
            list.remove(0);
        }
        list.push(make());
    }
    list.last_mut().expect("the item was moved or appended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_that_was_used_longest_ago_is_replaced() {
        let mut list = Vec::new();
        for number in [1, 2, 3, 1, 4] {
            assert_eq!(
                *touch_or_push(&mut list, 3, |it| *it == number, || number),
                number
            );
        }
        assert_eq!(list, [3, 1, 4]);
        assert_eq!(touch(&mut list, |it| *it == 3), Some(&mut 3));
        assert_eq!(touch(&mut list, |it| *it == 2), None);
        assert_eq!(list, [1, 4, 3]);
    }
}
