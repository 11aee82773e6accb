package io.winnow.examples.bench.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import java.util.stream.IntStream;

/**
 * A layer of experts to search, and what for.
 *
 * @param topK experts per token
 * @param tokens to calibrate on
 * @param retain experts to find
 */
record LayerShape(int hidden, int intermediate, int experts, int topK, int tokens, int retain) {
  LayerShape {
    if (IntStream.of(hidden, intermediate, experts, topK, tokens, retain).min().orElseThrow() < 1) {
      throw new InvalidInputException("All sizes of the benchmark must be at least 1");
    }
  }

  /** Refuses to retain fewer than a token selects, or more than so many. */
  void checkRetain(int most) {
    if (topK > retain || retain > most) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d of %d experts where a token selects %d; --top-k must be at most"
                  + " --retain, and that at most %d",
              retain, experts, topK, most));
    }
  }

  /** Returns the gate, up and down of one expert, drawn at random; the manager owns them. */
  NDList randomExpert(NDManager manager, float scale, float downScale) {
    return new NDList(
        random(manager, intermediate, hidden, scale),
        random(manager, intermediate, hidden, scale),
        random(manager, hidden, intermediate, downScale));
  }

  static NDArray random(NDManager manager, int rows, int columns, float scale) {
    return manager.randomNormal(new Shape(rows, columns)).muli(scale);
  }

  /** Returns the shape in the words of a table's first line. */
  String describe() {
    return String.format(
        "hidden %d, intermediate %d, %d experts, top-%d, %d tokens, retain %d, float32",
        hidden, intermediate, experts, topK, tokens, retain);
  }

  JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("hidden", hidden);
    json.addProperty("intermediate", intermediate);
    json.addProperty("experts", experts);
    json.addProperty("top_k", topK);
    json.addProperty("tokens", tokens);
    json.addProperty("retain", retain);
    return json;
  }
}
