/** A host application that has everything on the module path. */
module host {
  requires io.winnow.pruning;
  requires io.winnow.skipping;
}
