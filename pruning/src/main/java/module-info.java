/** Removing, merging and thinning out experts after training: methods, searches, plans, reports. */
module io.winnow.pruning {
  requires transitive io.winnow.core;
  requires com.google.common;
  requires com.google.gson;
  requires org.slf4j;
  requires static transitive org.jspecify;

  exports io.winnow.pruning;
  exports io.winnow.pruning.evolve;
  exports io.winnow.pruning.shrink;
  exports io.winnow.pruning.sparsify;
}
