use super::{ABI_VERSION_SYMBOL, guard::catch};

#[test]
fn macro_exports_the_names_that_the_loader_looks_up() {
    let source = include_str!("export.rs");
    assert!(source.contains(&format!(
        "export_name = \"{}\"",
        abi_stable::library::ROOT_MODULE_LOADER_NAME
    )));
    assert!(source.contains(&format!("extern \"C\" fn {ABI_VERSION_SYMBOL}()")));
}

#[test]
fn panic_becomes_a_fault() {
    let fault = catch::<()>(|| panic!("a {} of text", "piece"))
        .into_result()
        .unwrap_err();
    assert!(fault.panicked);
    assert_eq!(fault.message.as_str(), "a piece of text");

    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("from the payload");
        }
    }
    let fault = catch::<()>(|| std::panic::panic_any(Payload))
        .into_result()
        .unwrap_err();
    assert_eq!(fault.message.as_str(), "the panic carries no text");
}
