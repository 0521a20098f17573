//! Lets this package's programs and tests find libtorch.

fn main() {
    evopress_build::find_libtorch_where_it_was_linked();
}
