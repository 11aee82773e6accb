package io.winnow.core;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Models of the tests on the CPU, and what they compute. */
public final class LoadedModels {
  private LoadedModels() {}

  public static Model load(Path folder, DataType type, boolean fused) {
    return MoeModels.loader(folder)
        .optDevice(Device.cpu())
        .optDataType(type)
        .optFused(fused)
        .load();
  }

  /** Returns a loader in float32. */
  public static MoeModels.Loader float32(Path folder) {
    return MoeModels.loader(folder).optDevice(Device.cpu()).optDataType(DataType.FLOAT32);
  }

  /** Returns a loader in float32, of the fused kernel or the reference. */
  public static MoeModels.Loader loader(Path folder, boolean fused) {
    return float32(folder).optFused(fused);
  }

  /** Loads a model in float32. */
  public static Model load(Path folder) {
    return float32(folder).load();
  }

  /** Returns the last {@code count} of the logits. */
  public static float[] last(float[] logits, int count) {
    return Arrays.copyOfRange(logits, logits.length - count, logits.length);
  }

  /** Returns the token ids as the array that a block takes. */
  public static NDArray ids(NDManager manager, TokenSequences tokens) {
    return manager.create(
        tokens.flatten(0, tokens.count()), new Shape(tokens.count(), tokens.length()));
  }

  /** Returns the logits {@code [sequences, length, vocabulary]}. */
  public static float[] logits(Model model, TokenSequences tokens) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      return logits(model, manager, ids(manager, tokens));
    }
  }

  /** Returns the logits of one sequence, whatever the ids are. */
  public static float[] logits(Model model, long... ids) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      return logits(model, manager, manager.create(ids, new Shape(1, ids.length)));
    }
  }

  private static float[] logits(Model model, NDManager manager, NDArray ids) {
    return model
        .getBlock()
        .forward(new ParameterStore(manager, false), new NDList(ids), false)
        .singletonOrThrow()
        .toFloatArray();
  }

  /** Returns |actual - expected| / |expected|, which are equally long. */
  public static double relativeError(float[] actual, float[] expected) {
    assertThat(actual).hasSameSizeAs(expected);
    double error = 0;
    double norm = 0;
    for (int i = 0; i < expected.length; i++) {
      error += Math.pow(actual[i] - expected[i], 2);
      norm += Math.pow(expected[i], 2);
    }
    return Math.sqrt(error / norm);
  }

  /** Checks that no element differs by as much as 1e-4. */
  public static void assertClose(float[] actual, float[] expected, String what) {
    assertThat(actual).as(what).hasSameSizeAs(expected);
    double worst = 0;
    for (int i = 0; i < actual.length; i++) {
      double difference = Math.abs((double) actual[i] - expected[i]);
      worst = difference <= worst ? worst : difference;
    }
    assertThat(worst).as("greatest difference of " + what).isLessThan(1e-4);
  }

  /** What an observer sees of the routing. */
  public record Seen(float[] logits, RoutingDecision decision) {}

  /** Returns how a model routes tokens, by layer. */
  public static Map<Integer, Seen> routing(Model model, TokenSequences tokens) {
    Map<Integer, Seen> seen = new TreeMap<>();
    MoeModel.of(model).forward(tokens, new Recorder(seen));
    return seen;
  }

  /** Notes the routing of each layer in a map. */
  public record Recorder(Map<Integer, Seen> seen) implements ForwardObserver {
    @Override
    public RoutingDecision onRouting(MoeLayerView layer, float[] values, RoutingDecision decision) {
      seen.put(layer.layerIndex(), new Seen(values, decision));
      return decision;
    }
  }

  /** Returns {@code pruned.json} of a family: what the reference was pruned by. */
  public static JsonObject pruned(String family) throws IOException {
    return JsonParser.parseString(Files.readString(Fixtures.golden(family).resolve("pruned.json")))
        .getAsJsonObject();
  }

  /** Returns the experts that the reference kept, by layer. */
  public static Map<Integer, List<Integer>> retained(String family) throws IOException {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    pruned(family)
        .getAsJsonObject("kept")
        .asMap()
        .forEach(
            (layer, experts) ->
                retained.put(
                    Integer.valueOf(layer),
                    experts.getAsJsonArray().asList().stream()
                        .map(JsonElement::getAsInt)
                        .toList()));
    return retained;
  }
}
