/** Skipping experts token by token while a model generates. */
module io.winnow.skipping {
  requires transitive io.winnow.core;
  requires com.google.common;
  requires com.google.gson;
  requires static transitive org.jspecify;

  exports io.winnow.skipping;
}
