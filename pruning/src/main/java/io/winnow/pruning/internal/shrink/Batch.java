package io.winnow.pruning.internal.shrink;

/**
 * Sequences that run through a layer together.
 *
 * @param from the first one's number
 * @param to the number behind the last one's
 * @param firstToken the number of the first token among all
 */
record Batch(int from, int to, int firstToken) {
  int count() {
    return to - from;
  }
}
