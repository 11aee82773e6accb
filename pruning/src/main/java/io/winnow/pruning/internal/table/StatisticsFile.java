package io.winnow.pruning.internal.table;

import com.google.common.hash.Hasher;
import com.google.common.hash.Hashing;
import com.google.common.primitives.Ints;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.pruning.internal.file.JsonFields;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * {@link CalibrationTables} as a safetensors file: per layer and batch of tokens the router logits
 * {@code [tokens, experts]} and the inner products {@code [tokens, products]}, and in the metadata
 * what they were made of. All else follows from these.
 */
public final class StatisticsFile {
  private static final String FORMAT = "winnow calibration statistics";
  private static final int VERSION = 1;

  private StatisticsFile() {}

  /**
   * Writes a file, which appears when it is complete.
   *
   * @throws InvalidInputException if it is there already or cannot be written
   */
  public static void write(Path file, CalibrationTables statistics) {
    List<OutputTensor> tensors = new ArrayList<>();
    Hasher hasher = Hashing.sha256().newHasher();
    JsonArray layers = new JsonArray();
    for (InnerProductTable layer : statistics.layers()) {
      int number = 0;
      for (TokenBatch batch : layer.batches()) {
        tensors.add(tensor(layer, number, "logits", batch.tokens, batch.logits, hasher));
        tensors.add(
            tensor(layer, number++, "products", batch.tokens, layer.products(batch), hasher));
      }
      JsonObject json = new JsonObject();
      json.addProperty("layer", layer.layerIndex());
      json.addProperty("experts", layer.numExperts());
      json.addProperty("top_k", layer.routing().topK());
      json.addProperty("candidates", layer.candidates());
      json.addProperty("batches", number);
      json.addProperty("tokens_per_group", layer.tokensPerGroup());
      layers.add(json);
    }
    JsonObject json = new JsonObject();
    json.addProperty("source", statistics.source());
    json.addProperty("calibration", statistics.calibration());
    json.addProperty("sequences_per_group", statistics.sequencesPerGroup());
    json.addProperty("length", statistics.length());
    JsonArray parts = new JsonArray();
    for (Calibration.Part part : statistics.parts()) {
      JsonObject one = new JsonObject();
      one.addProperty("name", part.name());
      one.addProperty("sequences", part.sequences());
      parts.add(one);
    }
    json.add("parts", parts);
    json.add("layers", layers);
    Map<String, String> metadata = new TreeMap<>();
    metadata.put(FileKind.FIELD, FileKind.STATISTICS.id());
    metadata.put("format", FORMAT); // What version 0.1.0 knows the file by.
    metadata.put("version", Integer.toString(VERSION));
    metadata.put("statistics", json.toString());
    metadata.put("sha256", checksum(hasher, json.toString()));
    SafetensorsFile.write(file, tensors, metadata);
  }

  private static OutputTensor tensor(
      InnerProductTable layer, int batch, String what, int tokens, float[] values, Hasher hasher) {
    OutputTensor tensor =
        OutputTensor.ofFloats(
            name(layer.layerIndex(), batch, what),
            List.of((long) tokens, (long) values.length / tokens),
            values);
    add(hasher, values);
    return tensor;
  }

  private static String name(int layer, int batch, String what) {
    return "layers." + layer + ".batches." + batch + "." + what;
  }

  private static void add(Hasher hasher, float[] values) {
    ByteBuffer bytes = ByteBuffer.allocate(1 << 16);
    for (float value : values) {
      if (!bytes.hasRemaining()) {
        hasher.putBytes(bytes.flip());
        bytes.clear();
      }
      bytes.putFloat(value);
    }
    hasher.putBytes(bytes.flip());
  }

  private static String checksum(Hasher hasher, String json) {
    return hasher.putUnencodedChars(json).hash().toString();
  }

  /**
   * Reads a file.
   *
   * @param views the layers of the model that it must be of
   * @param source the digest of that model, or null if it is unknown
   * @throws InvalidInputException if the file is no such file, damaged, of another version, or of
   *     another model
   */
  public static CalibrationTables read(
      Path file, List<? extends MoeLayerView> views, @Nullable String source) {
    FileKind.STATISTICS.checkIsNoOther(file);
    SafetensorsFile tensors = SafetensorsFile.open(file);
    Map<String, String> metadata = tensors.metadata();
    if (!FORMAT.equals(metadata.get("format"))) {
      throw new InvalidInputException(
          file + " does not hold calibration statistics; make some with 'winnow calibrate'");
    }
    String version = metadata.get("version");
    if (!Integer.toString(VERSION).equals(version)) {
      throw new InvalidInputException(
          file
              + " holds calibration statistics of version "
              + version
              + "; version "
              + VERSION
              + " can be read, calibrate again");
    }
    String text = metadata.getOrDefault("statistics", "");
    Hasher hasher = Hashing.sha256().newHasher();
    try {
      JsonObject json = JsonParser.parseString(text).getAsJsonObject();
      checkModel(file, json, views, source);
      List<InnerProductTable> layers = new ArrayList<>();
      JsonArray described = json.getAsJsonArray("layers");
      for (int i = 0; i < described.size(); i++) {
        layers.add(layer(tensors, described.get(i).getAsJsonObject(), views.get(i), hasher));
      }
      if (!checksum(hasher, text).equals(metadata.get("sha256"))) {
        throw new InvalidInputException(
            file + " is damaged: its checksum differs; calibrate again");
      }
      List<Calibration.Part> parts = new ArrayList<>();
      for (JsonElement part : json.getAsJsonArray("parts")) {
        JsonObject one = part.getAsJsonObject();
        parts.add(
            new Calibration.Part(
                one.get("name").getAsString(),
                Ints.checkedCast(JsonFields.wholeNumber(one.get("sequences"), "'sequences'"))));
      }
      String calibration = JsonFields.stringOrNull(json, "calibration");
      return new CalibrationTables(
          layers,
          calibration == null ? "unknown" : calibration,
          JsonFields.stringOrNull(json, "source"),
          json.get("sequences_per_group").getAsInt(),
          parts,
          json.get("length").getAsInt());
    } catch (JsonParseException | IllegalStateException | NullPointerException e) {
      throw new InvalidInputException(
          file + " is damaged: its description cannot be read; calibrate again", e);
    }
  }

  private static void checkModel(
      Path file, JsonObject json, List<? extends MoeLayerView> views, @Nullable String source) {
    String made = JsonFields.stringOrNull(json, "source");
    boolean fits =
        (made == null || source == null || made.equals(source))
            && json.getAsJsonArray("layers").size() == views.size();
    for (int i = 0; fits && i < views.size(); i++) {
      JsonObject layer = json.getAsJsonArray("layers").get(i).getAsJsonObject();
      fits =
          layer.get("layer").getAsInt() == views.get(i).layerIndex()
              && layer.get("experts").getAsInt() == views.get(i).numExperts()
              && layer.get("top_k").getAsInt() == views.get(i).routing().topK();
    }
    if (!fits) {
      throw new InvalidInputException(
          String.format(
              "The statistics in %s are of another model (digest %s, this one's is %s); calibrate"
                  + " this one",
              file, made, source));
    }
  }

  private static InnerProductTable layer(
      SafetensorsFile tensors, JsonObject json, MoeLayerView view, Hasher hasher) {
    int candidates = json.get("candidates").getAsInt();
    InnerProductTable table =
        new InnerProductTable(
            view.layerIndex(),
            view.numExperts(),
            view.routing(),
            json.get("tokens_per_group").getAsLong(),
            candidates);
    int batches = json.get("batches").getAsInt();
    for (int i = 0; i < batches; i++) {
      float[] logits = tensors.readFloats(name(view.layerIndex(), i, "logits"));
      float[] products = tensors.readFloats(name(view.layerIndex(), i, "products"));
      add(hasher, logits);
      add(hasher, products);
      TokenBatch batch = new TokenBatch(logits, view.numExperts(), view.routing(), candidates);
      if (products.length != batch.tokens * TokenBatch.row(candidates)) {
        throw new IllegalStateException("Products of another number of candidates");
      }
      batch.measured(view.routing(), products, false);
      table.add(batch);
    }
    return table;
  }
}
