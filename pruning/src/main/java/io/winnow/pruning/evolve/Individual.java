package io.winnow.pruning.evolve;

import com.google.common.hash.Hasher;
import com.google.common.hash.Hashing;
import com.google.common.primitives.Ints;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;

/**
 * One point of an evolutionary search: router mapping and expert merging of every group of layers,
 * and k (EEP, arXiv 2407.00945, section 3). Immutable, serializable and thread-safe.
 *
 * @param groups one merge per group of layers, by depth; all of the same shape {@code [r, n]}
 * @param topK k, the experts that every token selects; from 1 to r
 */
public record Individual(List<ExpertMerge> groups, int topK) implements Serializable {
  private static final long serialVersionUID = 1L;

  /**
   * Copies the list.
   *
   * @throws InvalidInputException if there is no group, their shapes differ, or k is not from 1 to
   *     r
   */
  public Individual {
    groups = List.copyOf(groups);
    if (groups.isEmpty()) {
      throw new InvalidInputException("An individual must have at least one group of layers");
    }
    int retained = groups.get(0).retained();
    int experts = groups.get(0).numExperts();
    for (ExpertMerge merge : groups) {
      if (merge.retained() != retained || merge.numExperts() != experts) {
        throw new InvalidInputException(
            String.format(
                "All groups of an individual must have one shape, but there are [%d, %d] and"
                    + " [%d, %d]",
                retained, experts, merge.retained(), merge.numExperts()));
      }
    }
    if (topK < 1 || topK > retained) {
      throw new InvalidInputException(
          "A token cannot select " + topK + " of " + retained + " experts; use 1 to " + retained);
    }
  }

  /** Returns whether every group only prunes, so that a list of experts describes it. */
  public boolean isPruning() {
    return groups.stream().allMatch(ExpertMerge::isPruning);
  }

  /**
   * Returns what identifies these numbers: {@code sha256:} and 64 hexadecimal digits, the SHA-256
   * of k, the number of groups, r and n as 4 bytes each, then each group's W_RM and W_EM, row after
   * row, as 8 bytes each, little-endian; -0 counts as 0.
   */
  public String digest() {
    Hasher hasher =
        Hashing.sha256()
            .newHasher()
            .putInt(topK)
            .putInt(groups.size())
            .putInt(groups.get(0).retained())
            .putInt(groups.get(0).numExperts());
    for (ExpertMerge merge : groups) {
      put(hasher, merge.routerMapping());
      put(hasher, merge.expertMerging());
    }
    return "sha256:" + hasher.hash();
  }

  private static void put(Hasher hasher, double[][] matrix) {
    for (double[] row : matrix) {
      for (double element : row) {
        hasher.putDouble(element + 0.0); // Makes -0 to 0.
      }
    }
  }

  /**
   * Returns the individual as JSON text: {@code top_k}, {@code experts} (n) and {@code groups}. A
   * group that only prunes is {@code {"retained": [...]}}, any other one {@code {"router_mapping":
   * [[...]], "expert_merging": [[...]]}}, whose numbers are exact.
   */
  public String toJson() {
    return json().toString();
  }

  JsonObject json() {
    JsonObject json = new JsonObject();
    json.addProperty("top_k", topK);
    json.addProperty("experts", groups.get(0).numExperts());
    JsonArray array = new JsonArray();
    for (ExpertMerge merge : groups) {
      JsonObject group = new JsonObject();
      if (merge.isPruning()) {
        group.add("retained", JsonFields.array(Ints.asList(merge.retainedExperts())));
      } else {
        group.add("router_mapping", matrix(merge.routerMapping()));
        group.add("expert_merging", matrix(merge.expertMerging()));
      }
      array.add(group);
    }
    json.add("groups", array);
    return json;
  }

  private static JsonArray matrix(double[][] matrix) {
    JsonArray rows = new JsonArray();
    for (double[] row : matrix) {
      JsonArray elements = new JsonArray();
      for (double element : row) {
        elements.add(element + 0.0);
      }
      rows.add(elements);
    }
    return rows;
  }

  /**
   * Returns the individual that {@link #toJson} wrote.
   *
   * @throws InvalidInputException if it is none
   */
  public static Individual fromJson(String text) {
    try {
      JsonObject json = JsonParser.parseString(text).getAsJsonObject();
      int experts = json.get("experts").getAsInt();
      List<ExpertMerge> groups = new ArrayList<>();
      for (JsonElement element : json.getAsJsonArray("groups")) {
        JsonObject group = element.getAsJsonObject();
        groups.add(
            group.has("retained")
                ? ExpertMerge.ofRetained(experts, retained(group.getAsJsonArray("retained")))
                : ExpertMerge.of(
                    matrix(group.getAsJsonArray("router_mapping")),
                    matrix(group.getAsJsonArray("expert_merging"))));
      }
      return new Individual(groups, json.get("top_k").getAsInt());
    } catch (InvalidInputException e) {
      throw e;
    } catch (JsonParseException
        | IllegalStateException
        | UnsupportedOperationException
        | IllegalArgumentException
        | ClassCastException
        | NullPointerException e) {
      throw new InvalidInputException(
          "This JSON is no individual of an evolutionary search (" + e + "): " + text, e);
    }
  }

  private static int[] retained(JsonArray array) {
    List<Integer> experts = new ArrayList<>();
    array.forEach(element -> experts.add(element.getAsInt()));
    return Ints.toArray(experts);
  }

  private static double[][] matrix(JsonArray rows) {
    double[][] matrix = new double[rows.size()][];
    for (int row = 0; row < matrix.length; row++) {
      JsonArray elements = rows.get(row).getAsJsonArray();
      matrix[row] = new double[elements.size()];
      for (int column = 0; column < matrix[row].length; column++) {
        matrix[row][column] = elements.get(column).getAsDouble();
      }
    }
    return matrix;
  }
}
